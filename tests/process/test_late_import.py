"""A module that another one imports and seldom uses is imported when it is used."""

from __future__ import annotations

import importlib
import sys

import pytest
from cli_helpers import keras_python

from registry_core.process.late_import import imported_when_used


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with a part that counts how often it is imported."""
    folder = tmp_path / "slow_package"
    folder.mkdir()
    (folder / "__init__.py").write_text("times = 0\n")
    (folder / "part.py").write_text("import slow_package\nslow_package.times += 1\nvalue = 7\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield lambda: importlib.import_module("slow_package").times
    for name in ("slow_package", "slow_package.part"):
        sys.modules.pop(name, None)


def user_of_part(tmp_path, line):
    """A module that imports the part by this line."""
    (tmp_path / "user_of_part.py").write_text(line)
    sys.modules.pop("user_of_part", None)
    return importlib.import_module("user_of_part")


def test_it_is_imported_once_and_when_it_is_used(package, tmp_path):
    with imported_when_used("slow_package.part"):
        user = user_of_part(tmp_path, "import slow_package.part as part\n")
    assert package() == 0
    assert user.part.value == 7
    assert importlib.import_module("slow_package.part").value == 7
    assert package() == 1


def test_what_is_used_in_the_block_is_imported_in_it(package, tmp_path):
    with imported_when_used("slow_package.part"):
        assert user_of_part(tmp_path, "from slow_package.part import value\n").value == 7
        assert package() == 1


def test_afterwards_an_import_gives_the_module_itself(package):
    with imported_when_used("slow_package.part"):
        pass
    assert vars(importlib.import_module("slow_package.part"))["value"] == 7


def test_a_module_that_was_imported_before_stays(package):
    module = importlib.import_module("slow_package.part")
    with imported_when_used("slow_package.part"):
        assert sys.modules["slow_package.part"] is module
    assert sys.modules["slow_package.part"] is module


def test_an_import_that_fails_leaves_nothing_behind():
    with pytest.raises(ZeroDivisionError), imported_when_used("slow_package.part"):
        raise ZeroDivisionError
    assert "slow_package.part" not in sys.modules


def test_a_module_that_does_not_exist_says_so_when_it_is_used(package, tmp_path):
    with imported_when_used("slow_package.absent"):
        user = user_of_part(tmp_path, "import slow_package.absent as absent\n")
    with pytest.raises(ModuleNotFoundError, match=r"slow_package\.absent"):
        print(user.absent.value)


USES_PYPLOT = """
import os, sys
os.environ.pop("MPLBACKEND", None)
import registry_core.training
assert "matplotlib.pyplot" not in sys.modules, "pyplot was imported"
import keras, numpy
keras.visualization.plot_image_gallery(numpy.zeros((4, 8, 8, 3)), path="gallery.png")
print(os.path.getsize("gallery.png") > 0)
"""


@pytest.mark.gate
@pytest.mark.processes
@pytest.mark.tensorflow
def test_keras_imports_pyplot_when_it_draws(tmp_path):
    """mlreg draws without pyplot, and most commands do not draw."""
    done = keras_python("-c", USES_PYPLOT, cwd=tmp_path)
    assert (done.status, done.stdout) == (0, "True\n"), done.stderr
