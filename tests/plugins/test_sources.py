"""What plugins.toml and installed packages name, when it is written or kept in an odd way."""

from __future__ import annotations

import importlib
import importlib.metadata
import zipfile

import pytest
from fakes import COUNTING_EXTENSION, TABLE_PLUGIN, write_plugin, write_settings

import mlreg
from registry_core.errors import PluginError
from registry_core.plugins.installed import entries, modules
from registry_core.plugins.manager import KnownPlugins
from registry_core.process.guard import warnings_to
from registry_core.settings import Settings, read_settings

pytestmark = pytest.mark.drawn


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("flowers_plugin.py", "flowers_plugin"),
        ("./flowers_plugin.py", "flowers_plugin"),
        ("flowers_plugin:hooks", "flowers_plugin"),
        ("package/flowers.py", "package.flowers"),
        (r"package\\flowers", "package.flowers"),
        (" flowers_plugin", "flowers_plugin"),
        (".flowers_plugin", "flowers_plugin"),
    ],
)
def test_a_path_or_object_suggests_the_module_name(tmp_path, written, meant):
    """The error has the name that would work."""
    write_plugin(tmp_path, "flowers_plugin", TABLE_PLUGIN)
    known = KnownPlugins(write_settings(tmp_path, {"flowers": written}))
    assert known.datasets["flowers"].state == "not a module's name"
    with pytest.raises(PluginError, match="is not a module's name") as caught:
        known.load("flowers")
    assert caught.value.remedy == f"Write the module's name: {meant}"


def test_a_file_hidden_by_the_standard_library_is_reported(tmp_path):
    """code.py beside plugins.toml is hidden by Python's own module."""
    write_plugin(tmp_path, "code", TABLE_PLUGIN)
    known = KnownPlugins(write_settings(tmp_path, {"flowers": "code"}))
    assert known.datasets["flowers"].state == "hidden by Python's own module 'code'"
    with pytest.raises(PluginError, match="Python's own module 'code'") as caught:
        known.load("flowers")
    assert "flowers_plugin.py" in caught.value.remedy


def test_a_file_hidden_by_an_installed_module_is_reported(tmp_path, monkeypatch):
    """Also for any other module that Python finds first."""
    installed, project = tmp_path / "installed", tmp_path / "project"
    write_plugin(installed, "flowers_plugin", COUNTING_EXTENSION)
    write_plugin(project, "flowers_plugin", TABLE_PLUGIN)
    monkeypatch.syspath_prepend(installed)
    known = KnownPlugins(write_settings(project, {"flowers": "flowers_plugin"}))
    with pytest.raises(PluginError, match="is hidden") as caught:
        known.load("flowers")
    assert str(installed / "flowers_plugin.py") in caught.value.what


def test_a_plugin_both_installed_and_beside_plugins_toml_is_one_plugin(tmp_path, monkeypatch):
    """In a clone, the package and plugins.toml name the same plugin."""
    installed, project = tmp_path / "installed", tmp_path / "project"
    write_plugin(installed, "flowers_plugin", TABLE_PLUGIN)
    write_plugin(project, "flowers_plugin", TABLE_PLUGIN)
    distribution(installed, "flowers-1.0", "[mlreg.plugins]\nflowers = flowers_plugin\n")
    monkeypatch.syspath_prepend(installed)
    known = KnownPlugins(write_settings(project, {"flowers": "flowers_plugin"}))
    assert known.datasets["flowers"].state == "ok"
    assert known.load("flowers").dataset_name == "flowers"


def distribution(folder, name, entry_points, metadata=None):
    """Metadata of an installed package, as bytes or text."""
    place = folder / f"{name}.dist-info"
    place.mkdir(parents=True)
    project, _, version = name.rpartition("-")
    metadata = f"Name: {project}\nVersion: {version}\n" if metadata is None else metadata
    for file, content in (("METADATA", metadata), ("entry_points.txt", entry_points)):
        (place / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    return place


@pytest.mark.gate
@pytest.mark.parametrize(
    ("entry_points", "metadata"),
    [
        (b"[mlreg.plugins]\nna\xefve = module\n", None),
        ("[mlreg.plugins]\nno equals sign\n", None),
        ("[mlreg.plugins]\nweeds = weeds\n", b"Name: w\xe9eds\nVersion: 1.0\n"),
        ("[mlreg.plugins]\nweeds = weeds\n", ""),
    ],
)
def test_a_damaged_package_is_ignored_with_a_warning(tmp_path, monkeypatch, entry_points, metadata):
    """Other packages are found; the warning names the folder, once."""
    place = distribution(tmp_path / "site", "damaged-1.0", entry_points, metadata)
    good = "[mlreg.plugins]\ngood = good_plugin\n"
    distribution(tmp_path / "site", "good-1.0", good)
    monkeypatch.syspath_prepend(tmp_path / "site")
    importlib.invalidate_caches()
    warnings = []
    with warnings_to(warnings.append):
        for _ in range(2):
            known = KnownPlugins(write_settings(tmp_path, {}))
    assert known.datasets["good"].origin == "good 1.0"
    assert "weeds" not in known.datasets
    assert [str(place) in warning for warning in warnings] == [True]


def as_importlib_finds(group):
    found = importlib.metadata.entry_points(group=group)
    return {(each.name, each.value, f"{each.dist.name} {each.dist.version}") for each in found}


def test_entry_points_are_those_that_importlib_finds(tmp_path, monkeypatch):
    """Also of a package that an earlier one on sys.path hides, and of comments and spaces."""
    text = "[mlreg.plugins]\n# comment\n rose = flowers.rose \n\n[mlreg.plugins.more]\nno = no\n"
    for place, name in (("first", "My.Flowers-1.0"), ("second", "my_flowers-2.0")):
        distribution(tmp_path / place, name, text + f"[mlreg.plugins]\n{place} = m\n")
    distribution(tmp_path / "second", "bare-1.0", "[console_scripts]\nmlreg.plugins = x\n")
    distribution(tmp_path / "first", "hidden-1.0", "")
    distribution(tmp_path / "second", "hidden-1.0", "[mlreg.plugins]\nhidden = m\n")
    for place in ("second", "absent", "first"):
        monkeypatch.syspath_prepend(tmp_path / place)
    importlib.invalidate_caches()
    found = entries("mlreg.plugins")
    assert set(found) == as_importlib_finds("mlreg.plugins")
    assert ("rose", "flowers.rose", "My.Flowers 1.0") in found
    assert not {"second", "hidden", "no"} & {name for name, _, _ in found}


def test_modules_are_those_of_the_packages_that_importlib_finds():
    found, versions = modules()
    theirs = importlib.metadata.packages_distributions()
    assert {"mlreg", "numpy", "rich"} <= found.keys()
    named = {top: {*owners} for top, owners in found.items() if top.isidentifier()}
    assert named == {top: {*owners} for top, owners in theirs.items() if top.isidentifier()}
    assert versions["numpy"] == importlib.metadata.version("numpy")
    assert all(versions[name] == importlib.metadata.version(name) for name in found["mlreg"])


def test_packages_in_an_archive_are_left_to_importlib(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "site.zip", "w") as archive:
        archive.writestr("rose-1.0.dist-info/METADATA", "Name: rose\nVersion: 1.0\n")
        archive.writestr("rose-1.0.dist-info/entry_points.txt", "[mlreg.plugins]\nrose = m\n")
    monkeypatch.syspath_prepend(tmp_path / "site.zip")
    assert entries("mlreg.plugins") is None
    assert KnownPlugins(Settings()).datasets["rose"].origin == "rose 1.0"


def test_a_byte_order_mark_is_ignored(tmp_path):
    """Some editors write one at the start of a file."""
    write_plugin(tmp_path, "flowers_plugin", TABLE_PLUGIN)
    for name in ("plugins.toml", "flowers_plugin.py"):
        file = tmp_path / name
        text = file.read_bytes() if file.exists() else b'[plugins]\nflowers = "flowers_plugin"\n'
        file.write_bytes(b"\xef\xbb\xbf" + text)
    known = KnownPlugins(read_settings(tmp_path / "plugins.toml"))
    assert known.load("flowers").dataset_name == "flowers"


def test_the_digest_covers_files_only(tmp_path):
    """Neither dangling links of editors nor folders called x.py."""
    package = tmp_path / "flowers"
    write_plugin(package, "__init__", "")
    write_plugin(package, "plugin", TABLE_PLUGIN)
    settings = write_settings(tmp_path, {"flowers": "flowers.plugin"})
    before = KnownPlugins(settings).load("flowers").describe()
    (package / ".#plugin.py").symlink_to("someone@machine.1234:5678")
    (package / "folder.py").mkdir()
    assert KnownPlugins(settings).load("flowers").describe() == before


def test_a_plugin_in_a_zip_file_has_a_digest(tmp_path, monkeypatch):
    """Python can import from a zip file."""
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        archive.writestr("zipped_plugin.py", TABLE_PLUGIN)
    monkeypatch.syspath_prepend(tmp_path / "archive.zip")
    plugins = KnownPlugins(write_settings(tmp_path, {"zipped": "zipped_plugin"})).load("zipped")
    (described,) = plugins.describe()
    assert len(described["code_sha256"]) == 64


def test_a_folder_without_init_is_not_a_plugin(tmp_path):
    """Python imports an empty folder without an error."""
    (tmp_path / "empty_folder").mkdir()
    known = KnownPlugins(write_settings(tmp_path, {}, {"empty": "empty_folder"}))
    with pytest.raises(PluginError, match="has no file of its own"):
        known.load(None)


def test_the_distribution_that_installed_a_plugin_is_known(tmp_path):
    """By its entry point, or by its module; a file beside plugins.toml has none."""
    write_plugin(tmp_path, "flowers_plugin", TABLE_PLUGIN)
    named = {"flowers": "flowers_plugin", "pytest": "pytest", "absent": "absent_plugin"}
    known = KnownPlugins(write_settings(tmp_path, named)).datasets
    assert known["cifar10"].distribution == ("mlreg", mlreg.__version__)
    assert known["pytest"].distribution == ("pytest", pytest.__version__)
    assert known["flowers"].distribution is None
    assert known["absent"].distribution is None
