"""What an install and a source distribution contain."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import setuptools

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
_SETUPTOOLS = int(setuptools.__version__.partition(".")[0])

# written by tools, and in no distribution
_NOT_OURS = shutil.ignore_patterns(
    ".git", ".*cache*", ".hypothesis", ".benchmarks", ".venv*", "venv", "build", "dist",
    "__pycache__", "*.egg-info", "registry",
)  # fmt: skip


def bounds(requirements, *but):
    """Package -> its version bounds, except for the packages in `but`."""
    pairs = (re.match(r"([\w.-]+)(?:\[\w+\])?(.*)", each) for each in requirements)
    return {found[1]: found[2] for found in pairs if found and found[1] not in but}


def test_the_base_install_has_no_tensorflow():
    """Looking at a registry needs neither TensorFlow nor its dependencies."""
    heavy = {"tensorflow", "tensorflow-cpu", "keras", "h5py", "matplotlib", "pillow"}
    assert not heavy & bounds(PROJECT["dependencies"]).keys()
    assert heavy - {"tensorflow-cpu"} == bounds(EXTRAS["tensorflow"]).keys()


def test_both_tensorflow_extras_have_the_same_requirements():
    """Neither extra installs the other build of TensorFlow."""
    with_gpus, without = EXTRAS["tensorflow"], EXTRAS["tensorflow-cpu"]
    assert bounds(with_gpus, "tensorflow") == bounds(without, "tensorflow-cpu")
    assert bounds(with_gpus)["tensorflow"] == bounds(without)["tensorflow-cpu"]
    assert with_gpus[0].startswith("tensorflow>")  # resolved first


def test_h5py_has_the_bounds_that_tensorflow_requires():
    """Otherwise a resolver that chooses h5py first falls back to an older TensorFlow."""
    try:
        asked = importlib.metadata.requires("tensorflow") or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("the build of TensorFlow without GPUs is installed, not this one")
    (theirs,) = (each for each in asked if re.match(r"h5py\W", each))
    ours = set(bounds(EXTRAS["tensorflow"])["h5py"].split(","))
    least, most = (re.search(rf"{sign}([\d.]+)", theirs)[1] for sign in (">=", "<"))
    assert {
        sign + re.sub(r"\.0$", "", bound) for sign, bound in ((">=", least), ("<", most))
    } == ours


def test_the_package_page_has_no_relative_links():
    """A package index shows the page without the repository."""
    page = (ROOT / PROJECT["readme"]).read_text()
    targets = re.findall(r"\]\(([^)]+)\)|(?:src|href)=\"([^\"]+)\"", page)
    assert all(target.startswith("https://") for pair in targets for target in pair if target)
    for extra in re.findall(r"mlreg\[([\w-]+)\]", page):
        assert extra in EXTRAS


def built(kind: str, folder: Path) -> Path:
    """Build a distribution into a folder, from a copy of the project, which is returned."""
    copy = folder / "copy"
    shutil.copytree(ROOT, copy, ignore=_NOT_OURS)
    build = f"from setuptools import build_meta; print(build_meta.build_{kind}({str(folder)!r}))"
    done = subprocess.run([sys.executable, "-c", build], cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return copy


needs_setuptools = pytest.mark.skipif(
    _SETUPTOOLS < 77,
    reason=f"NO DISTRIBUTION IS TESTED: it needs setuptools 77, not {_SETUPTOOLS}",
)


@pytest.mark.gate
@pytest.mark.processes
@needs_setuptools
def test_a_wheel_has_every_file_of_its_packages(tmp_path):
    """The templates of new plugins too."""
    copy = built("wheel", tmp_path)
    (wheel,) = tmp_path.glob("mlreg-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    packages = ("mlreg", "registry_core", "cifar_plugin")
    files = [file for package in packages for file in (copy / package).rglob("*") if file.is_file()]
    names = {file.relative_to(copy).as_posix() for file in files}
    assert sum(name.endswith(".template") for name in names) > 15
    assert {name for name in names - inside if not name.endswith(".pyc")} == set()


@pytest.mark.gate
@pytest.mark.processes
@needs_setuptools
def test_a_source_distribution_has_the_whole_project(tmp_path):
    """It has the documentation, examples, tests and benchmarks, so it can be tested."""
    copy = built("sdist", tmp_path)
    (archive,) = tmp_path.glob("mlreg-*.tar.gz")
    with tarfile.open(archive) as opened:
        inside = {name.partition("/")[2] for name in opened.getnames()}
        info = next(name for name in opened.getnames() if name.endswith("PKG-INFO"))
        metadata = opened.extractfile(info).read().decode()
    files = {file.relative_to(copy).as_posix() for file in copy.rglob("*") if file.is_file()}
    assert {"docs/faults.md", "CHANGELOG.md", "plugins.toml", "tests/conftest.py"} <= inside
    made = re.compile(r"mlreg\.egg-info/|.*\.py[cod]$")
    assert {file for file in files - inside if not made.match(file)} == set()
    assert "License-Expression: Apache-2.0" in metadata
    assert "# mlreg" in metadata
