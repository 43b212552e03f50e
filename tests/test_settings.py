"""plugins.toml, the registry's place, the cache's place."""

import os
from pathlib import Path

import pytest

from registry_core.errors import UsageError
from registry_core.places import named_registry, registry_place
from registry_core.settings import (
    Settings,
    cache_folder,
    find_settings,
    read_settings,
)
from registry_core.urls import without_password


def written(folder: Path, text: str | bytes) -> Path:
    file = folder / "plugins.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def refused(folder: Path, text: str | bytes) -> UsageError:
    with pytest.raises(UsageError) as caught:
        read_settings(written(folder, text))
    assert caught.value.exit_status == 2
    assert str(folder / "plugins.toml") in caught.value.what
    return caught.value


def test_every_section_is_read(tmp_path):
    """Plugins, extensions and the registry, whose path is relative to the file."""
    file = written(
        tmp_path,
        '[registry]\npath = "kept/here"\n'
        '[plugins]\nflowers = "flowers.plugin"  # ours\n'
        '[extensions]\nslack = "notify"\n',
    )
    assert read_settings(file) == Settings(
        file, tmp_path / "kept/here", {"flowers": "flowers.plugin"}, {"slack": "notify"}
    )
    assert read_settings(file).folder == tmp_path


def test_an_empty_file_gives_the_defaults(tmp_path):
    """No section is required."""
    assert read_settings(written(tmp_path, "")) == Settings(tmp_path / "plugins.toml")


def test_absolute_and_home_paths_are_not_relative_to_the_file(tmp_path):
    """Only a relative path is; ~ is the home folder."""
    elsewhere = tmp_path / "elsewhere"
    assert read_settings(written(tmp_path, f'[registry]\npath = "{elsewhere}"')).registry == (
        elsewhere
    )
    assert read_settings(written(tmp_path, '[registry]\npath = "~/models"')).registry == (
        Path(os.environ["HOME"]) / "models"
    )


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("[plugins\n", "line 1, column 9", "not valid TOML"),
        ('[plugins]\nflowers = "a', "line 2, column 13", "not valid TOML"),
        ("[plugins]\nflowers = \n", "line 2, column 11", "not valid TOML"),
        ('[plugins]\na = "x"\na = "y"\n', "line 3", "not valid TOML"),
        (b'[plugins]\nfl\xff = "a"\n', "line 2, column 3", "not UTF-8 (byte 0xff)"),
        ("[plugin]\nflowers = 'a'\n", "line 1, column 2", "'plugin' is not a known key"),
        ("# plugin\n[plugin]\n", "line 2, column 2", "'plugin' is not a known key"),
        ("[registry]\npath = 'a'\npaht = 'b'\n", "line 3, column 1", "'paht' is not a known key"),
        ("[registry]\npath = 3\n", "line 2, column 1", "'path' must be a text, not int"),
        ("[plugins]\n  flowers = ['a']\n", "line 2, column 3", "'flowers' must be a text, not"),
        ("[plugins]\ns = 3\n", "line 2, column 1", "'s' must be a text, not int"),
        (
            "[registry]\npath = 'plugins'\n[plugins]\npath = 3\n",
            "line 4, column 1",
            "'path' must be a text, not int",
        ),
        ('[plugins]\n"a b" = 3\n', "line 2, column 2", "'a b' must be a text, not int"),
        ("[plugins]\na = 'b'\nb = 3\n", "line 3, column 1", "'b' must be a text, not int"),
        ("[plugins]\nb.c = 'x'\n", "line 2, column 1", "'b' must be a text, not dict"),
        ("plugins = 'a'\n", "line 1, column 1", "'plugins' is a section, not a value"),
        ("[[plugins]]\na = 'b'\n", "line 1, column 3", "'plugins' is a section, not a value"),
    ],
)
def test_errors_have_line_and_column(tmp_path, text, place, said):
    """For a malformed file, a wrong type and an unknown key."""
    error = refused(tmp_path, text)
    assert place in error.what
    assert said in error.what


def test_an_unknown_key_suggests_the_nearest(tmp_path):
    """The message has all known keys and the nearest one."""
    error = refused(tmp_path, "[extension]\n")
    assert "registry, plugins, extensions" in error.remedy
    assert "Did you mean 'extensions'?" in error.remedy


def test_an_unreadable_file_has_the_reason(tmp_path):
    """A folder with that name is not a settings file."""
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        read_settings(tmp_path)


def test_the_nearest_file_above_is_found(tmp_path):
    """mlreg works in every folder below its plugins.toml."""
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    outer = written(tmp_path, "")
    assert find_settings(inner).file == outer
    nearest = written(tmp_path / "a", "")
    assert find_settings(inner).file == nearest


def test_without_a_file_there_are_no_plugins(tmp_path):
    """A missing plugins.toml is not an error; modules are found in the current folder."""
    found = find_settings(tmp_path)
    assert found == Settings()
    assert found.folder == tmp_path  # the working folder of this test


def test_a_link_to_a_folder_is_followed(tmp_path):
    """The file beside the real folder is read."""
    (tmp_path / "real" / "work").mkdir(parents=True)
    file = written(tmp_path / "real", "")
    (tmp_path / "link").symlink_to(tmp_path / "real" / "work")
    assert find_settings(tmp_path / "link").file == file


def test_the_registry_folder_has_an_order_of_precedence(tmp_path, monkeypatch):
    """The option, MLREG_HOME, plugins.toml, then the user's data folder."""
    settings = Settings(registry=tmp_path / "by file")
    monkeypatch.setenv("MLREG_HOME", str(tmp_path / "by environment"))
    option = tmp_path / "by option"
    assert registry_place(option, settings).folder == option
    assert registry_place(None, settings).folder == tmp_path / "by environment"
    monkeypatch.setenv("MLREG_HOME", "~/registry é")
    assert registry_place(None, settings).folder == Path(os.environ["HOME"]) / "registry é"
    monkeypatch.setenv("MLREG_HOME", "")
    assert registry_place(None, settings).folder == tmp_path / "by file"
    monkeypatch.delenv("MLREG_HOME")
    default = registry_place(None, Settings()).folder
    assert default.name == "mlreg"
    assert Path(os.environ["HOME"]) in default.parents


INDEX, OBJECTS = "postgresql://db.example/models", "s3://models/team"


def test_a_team_registry_is_named_by_the_file_or_the_environment(tmp_path, monkeypatch):
    """The option and MLREG_HOME still name a folder; the environment overrides the file."""
    text = f'[registry]\nindex = "{INDEX}"\nobjects = "{OBJECTS}"\ncache_gb = 2.5\n'
    settings = read_settings(written(tmp_path, text))
    place = registry_place(None, settings)
    assert (place.index, place.objects, place.cache_gb) == (INDEX, OBJECTS, 2.5)
    assert place.name == f"{INDEX} and {OBJECTS}"
    assert place.folder.parent.name == "mlreg-team"
    assert registry_place(tmp_path, settings).index == ""
    monkeypatch.setenv("MLREG_INDEX", "postgresql://ann:secret@db.example/other")
    other = registry_place(None, settings)
    assert other.objects == OBJECTS
    assert other.name == f"postgresql://ann@db.example/other and {OBJECTS}"
    assert other.folder != place.folder
    monkeypatch.delenv("MLREG_INDEX")
    monkeypatch.setenv("MLREG_HOME", str(tmp_path))
    assert registry_place(None, settings).index == ""


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql:///models", "postgresql:///models"),
        ("postgresql://ann:secret@db.example:5433/m", "postgresql://ann@db.example:5433/m"),
        ("postgresql:///m?host=/run&password=secret", "postgresql:///m?host=/run"),
        ("postgresql://a,b/m?sslpassword=secret", "postgresql://a,b/m"),
        ("postgresql://[::1]/m", "postgresql://[::1]/m"),
    ],
)
def test_a_url_is_shown_without_its_password(url, shown):
    """Everything else stays as it was written."""
    assert without_password(url) == shown


def test_runs_of_a_team_registry_write_where_the_file_says(tmp_path):
    """`path` beside `index` is the folder of this machine."""
    text = f'[registry]\nindex = "{INDEX}"\nobjects = "{OBJECTS}"\npath = "scratch"\n'
    assert registry_place(None, read_settings(written(tmp_path, text))).folder == (
        tmp_path / "scratch"
    )


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"MLREG_INDEX": INDEX}, "nothing names the objects beside it"),
        ({"MLREG_OBJECTS": OBJECTS}, "nothing names the index beside it"),
        ({"MLREG_INDEX": INDEX, "MLREG_HOME": "/kept"}, "MLREG_HOME and MLREG_INDEX are both set"),
        ({"MLREG_INDEX": "mysql://a:secret@b/c", "MLREG_OBJECTS": OBJECTS}, "must begin with post"),
        ({"MLREG_INDEX": "postgresql://[a/b", "MLREG_OBJECTS": OBJECTS}, "is no URL"),
        ({"MLREG_INDEX": INDEX, "MLREG_OBJECTS": "s3:bucket"}, "must be s3://BUCKET"),
        ({"MLREG_INDEX": INDEX, "MLREG_OBJECTS": "s3://key:secret@b"}, "belong to the environment"),
        ({"MLREG_INDEX": INDEX, "MLREG_OBJECTS": "s3://b/a//c"}, "has an empty part"),
    ],
)
def test_half_of_a_team_registry_is_refused_and_no_password_is_shown(monkeypatch, variables, said):
    """Before anything connects."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=said) as caught:
        registry_place(None, Settings())
    assert "secret" not in f"{caught.value.what} {caught.value.remedy} {caught.value.command}"


@pytest.mark.parametrize("table", ["registry", "remotes.hospital"])
@pytest.mark.parametrize(
    ("index", "objects"),
    [
        ("postgresql://ann:secret@db.example/models", OBJECTS),
        ("postgresql://db.example/models?password=secret", OBJECTS),
        (INDEX, "s3://key:secret@models/team"),
    ],
)
def test_a_password_in_plugins_toml_is_refused_with_its_place(tmp_path, table, index, objects):
    """The message shows how to write the line, without the password."""
    error = refused(tmp_path, f'[{table}]\nindex = "{index}"\nobjects = "{objects}"\n')
    assert f"line {2 if 'secret' in index else 3}, column 1" in error.what
    assert "secret" not in f"{error.what} {error.remedy} {error.command}"
    if index != INDEX:
        assert "PGPASSWORD" in error.remedy


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        (f'[registry]\nindex = "{INDEX}"\n', "line 2, column 1", "needs 'objects' beside it"),
        (f'[registry]\nobjects = "{OBJECTS}"\n', "line 2, column 1", "needs 'index' beside it"),
        (
            '[registry]\nindex = "mysql://a/b"\n',
            "line 2, column 1",
            "must begin with postgresql://",
        ),
        ("[registry]\ncache_gb = 0\n", "line 2, column 1", "must be a number above 0"),
        ("[remotes]\na = 'b'\n", "line 2, column 1", "'a' is a section, [remotes.a]"),
        ("[remotes.A]\npath = 'b'\n", "line 1, column 10", "'A' cannot name a remote"),
        ("[remotes.a]\n", "line 1, column 10", "'a' has neither a path nor an index"),
        ("[remotes.a]\npaht = 'b'\n", "line 2, column 1", "'paht' is not a known key"),
        ("[remotes.a]\npath = 3\n", "line 2, column 1", "'path' must be a text, not int"),
        (
            f"[remotes.a]\npath = 'b'\nindex = '{INDEX}'\nobjects = '{OBJECTS}'\n",
            "line 1, column 10",
            "'a' has both a path and an index",
        ),
    ],
)
def test_errors_about_other_registries_have_line_and_column(tmp_path, text, place, said):
    """For one half of a team's registry, and for remotes."""
    error = refused(tmp_path, text)
    assert place in error.what
    assert said in error.what


def test_a_command_names_another_registry_by_its_remote_or_its_folder(tmp_path, monkeypatch):
    """A word that is neither is not made a folder by mistake."""
    text = (
        f'[remotes.team]\nindex = "{INDEX}"\nobjects = "{OBJECTS}"\n[remotes.lab]\npath = "lab"\n'
    )
    settings = read_settings(written(tmp_path, text))
    team = named_registry("team", settings)
    assert (team.index, team.objects) == (INDEX, OBJECTS)
    assert team.reason == f"named by [remotes.team] in {settings.file}"
    assert named_registry("lab", settings).folder == tmp_path / "lab"
    monkeypatch.chdir(tmp_path)
    assert named_registry("./new", settings).folder == Path("new")
    (tmp_path / "there").mkdir()
    assert named_registry("there", settings).folder == Path("there")
    with pytest.raises(UsageError, match="no remote 'taem'") as caught:
        named_registry("taem", settings)
    assert "lab, team" in caught.value.remedy
    with pytest.raises(UsageError, match="not a URL of postgresql"):
        named_registry(INDEX, settings)


def test_the_cache_folder_is_the_users_or_from_mlreg_cache(tmp_path, monkeypatch):
    """Each plugin has its own folder in it."""
    default = cache_folder("flowers")
    assert default.parts[-2:] == ("mlreg", "flowers")
    assert Path(os.environ["HOME"]) in default.parents
    monkeypatch.setenv("MLREG_CACHE", str(tmp_path))
    assert cache_folder("flowers") == tmp_path / "flowers"
    assert not (tmp_path / "flowers").exists()


@pytest.mark.parametrize("variable", ["MLREG_HOME", "MLREG_CACHE"])
def test_the_home_of_an_unknown_user_is_a_usage_error(monkeypatch, variable):
    """The message names the setting; a full path would work."""
    monkeypatch.setenv(variable, "~nosuch/place")
    with pytest.raises(UsageError) as caught:
        registry_place(None, Settings()) if variable == "MLREG_HOME" else cache_folder("flowers")
    assert caught.value.what == (
        f"{variable} is '~nosuch/place', and '~nosuch' has no home folder on this machine."
    )


def test_a_home_path_is_expanded_in_the_option_and_the_file(tmp_path):
    """A shell leaves `--registry=~/folder` unchanged."""
    home = Path(os.environ["HOME"])
    assert registry_place(Path("~/place"), Settings()).folder == home / "place"
    error = refused(tmp_path, '[registry]\npath = "~nosuch/place"\n')
    assert "'~nosuch' has no home folder" in error.what


def test_a_user_without_a_home_gets_the_variable_to_set(monkeypatch):
    """No folder called ~ is created."""
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)  # nobody has an entry
    with pytest.raises(UsageError, match="Your home folder is not known") as caught:
        registry_place(None, Settings())
    assert "MLREG_HOME" in caught.value.command
    with pytest.raises(UsageError, match="Your home folder is not known"):
        cache_folder("flowers")


def test_a_deleted_working_folder_is_a_usage_error(tmp_path, monkeypatch):
    """Relative paths would have no base."""
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(UsageError, match="current folder cannot be used"):
        find_settings()
