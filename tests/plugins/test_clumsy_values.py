"""Texts, exceptions and values of plugins that cannot be shown, stored or inspected."""

import json

import pytest
from cli_helpers import (
    assert_error,
    faked,
    fill,
    forked_mlreg,
    stop,
)
from clumsy_plugins import HOOKS, doing
from fakes import TABLE_PLUGIN, write_plugin, write_settings

from registry_core.errors import MlregError, PluginError, one_line, safe_repr
from registry_core.plugins.manager import KnownPlugins
from registry_core.store import Store
from registry_core.store.local.run_files import read_record, write_record

pytestmark = pytest.mark.processes


# --- text that no file can keep ---

UNWRITABLE = [
    ("setosa", "set\\udc80osa", 4, "Class name 0 is not valid Unicode: 'set\\udc80osa'"),
    ('source="drawn"', 'source="dra\\ud800wn"', 4, "source is not valid Unicode"),
    (
        "units: int = 8",
        "units: int = 8\n    note: object = 'a\\udc80'",
        3,
        "note of the preset 'baseline'",
    ),
    ('"baseline": T', '"base\\udc80": T', 3, "The preset 'base\\udc80' is not valid Unicode"),
]


@pytest.mark.exhaustive(keep=3)
@pytest.mark.gate(keep=1)
@pytest.mark.parametrize(("old", "new", "status", "said"), UNWRITABLE)
def test_a_lone_surrogate_is_refused_before_training(project, old, new, status, said):
    """It could not be written into the version's record afterwards."""
    assert old in TABLE_PLUGIN
    folder = project(TABLE_PLUGIN.replace(old, new))
    done = faked("run", "flowers", "--json", cwd=folder)
    assert done.status == status, done.stderr
    assert "Training" not in done.stderr
    assert said in done.stderr
    assert json.loads(done.stdout)["error"]["exit_status"] == status
    assert forked_mlreg("runs", cwd=folder).status == 0


def test_a_setting_with_invalid_bytes_is_a_usage_error(project):
    """Status 2, for a byte that the shell passed."""
    free = TABLE_PLUGIN.replace("units: int = 8", "units: int = 8\n    note: object = 'plain'")
    folder = project(free)
    done = faked("run", "flowers", "-p", "note=\udcff", cwd=folder)
    assert_error(done, 2, "note", "\\udcff")
    assert forked_mlreg("run", "flowers", "-p", "note=plain", "--dry-run", cwd=folder).status == 0


def test_an_exception_with_invalid_unicode_does_not_break_the_list_of_runs(project):
    """The error of a stopped run can be shown as a table and as JSON."""
    folder = project(TABLE_PLUGIN)
    store = Store(folder / "registry")
    stop(store, failed="torn \udc80")
    assert forked_mlreg("runs", cwd=folder).status == 0
    shown = forked_mlreg("runs", "--json", cwd=folder)
    assert shown.status == 0
    assert "torn" in shown.json["runs"][0]["failed"]


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate(keep=1)
@pytest.mark.parametrize("words", ["runs", "runs --json", "runs -q"])
def test_an_older_record_with_invalid_unicode_is_shown(project, words):
    """Older records have it in names, settings and errors."""
    folder = project(TABLE_PLUGIN)
    store = Store(folder / "registry")
    config = {"epochs": 3, "seed": 7, "note": "n\udc80"}
    stop(store, preset="pre\udc80set", dataset="flow\udc80ers", config=config)
    run = stop(store, failed="x")
    path = folder / "registry" / "runs" / run
    write_record(path, {**read_record(path), "failed": "torn \udc80 \x1b[2J"})
    for encoding in ("utf-8", "ascii"):
        done = forked_mlreg(*words.split(), cwd=folder, PYTHONIOENCODING=encoding)
        assert done.status == 0, done.stderr
        assert "\x1b" not in done.stdout
        if "--json" in words:
            assert len(done.json["runs"]) == 2


def test_an_objection_with_invalid_unicode_is_escaped(project):
    """Status 9 with the plugin's text, escaped and truncated; the ledger has the same."""
    code = "return [Objection('sur\\udc80', 'torn \\ud800' + 'x' * 100_000), Objection(5, None)]"
    text = doing("mlreg_check_promotion", code)
    folder = project(text.replace("RunConfig, hook", "Objection, RunConfig, hook"))
    fill(folder / "registry", 0.5, dataset="flowers", model="flowers")
    done = forked_mlreg("promote", "flowers@1", "production", "--json", cwd=folder)
    assert done.status == 9, done.stderr
    first, second = done.json["decision"]["checks"]
    assert first["name"] == "sur\\udc80"
    assert first["found"].startswith("torn \\ud800xxx")
    assert len(first["found"]) < 3000
    assert (second["name"], second["found"]) == ("5", "None")
    assert forked_mlreg("history", cwd=folder).status == 0


def test_an_mlreg_error_is_always_valid_text():
    """An error that a plugin raises is escaped before it is shown and stored."""
    error = PluginError("torn \udc80", "mend \ud800", "mlreg \udcff")
    assert str(error) == "torn \\udc80\nmend \\ud800\nTry: mlreg \\udcff"
    assert PluginError(ValueError("no text")).what == "no text"


# --- exceptions that are not plain ---

CLASSES = """

class Mute(Exception):
    def __str__(self):
        raise KeyError("no words")
    __repr__ = __str__


class Quitter(Exception):
    def __str__(self):
        raise SystemExit


class Wordless(Exception):
    def __str__(self):
        return None


class Base(BaseException):
    pass


class Noteless(Exception):
    def add_note(self, note):
        raise TypeError(note)


class Partial(DataError):
    def __init__(self):
        pass


class Textless(DataError):
    def __init__(self, what):
        self.what = [what, {1}]

    def __str__(self):
        return "x"


def deep(n=0):
    return deep(n + 1)
"""

# what a hook does -> status, what is said
RAISES = {
    "raise Mute()": (3, ["Plugin 'flowers' failed in {hook}: Mute: (__str__ raised KeyError)"]),
    "raise Quitter()": (3, ["'flowers' failed in {hook}: Quitter"]),
    "raise Wordless()": (3, ["'flowers' failed in {hook}: Wordless"]),
    "raise Base('all')": (3, ["'flowers' failed in {hook}: Base: all"]),
    "raise Noteless('any')": (3, ["'flowers' failed in {hook}: Noteless: any"]),
    "raise Partial()": (4, []),
    "raise DataError(KeyError('x'))": (4, ["'x'"]),
    "raise Textless('x')": (4, []),
    "raise DataError('torn \\udc80')": (4, ["torn \\udc80"]),
    "raise ValueError('torn \\udc80')": (3, ["ValueError: torn \\udc80"]),
    "raise ValueError('x' * 10_000_000)": (3, ["ValueError: xxx", "…"]),
    "raise ValueError('a\\n' * 1_000_000)": (3, ["ValueError: a"]),
    "raise ValueError('\\x1b[2J')": (3, ["\\x1b[2J"]),
    "deep()": (3, ["RecursionError: maximum recursion depth"]),
    "raise ExceptionGroup('many', [ValueError('x'), Mute()])": (3, ["ExceptionGroup: many"]),
    "raise BaseExceptionGroup('all', [KeyboardInterrupt()])": (3, ["BaseExceptionGroup: all"]),
    "raise GeneratorExit": (3, ["GeneratorExit"]),
    "raise StopIteration": (3, ["StopIteration"]),
    "raise MemoryError": (3, ["MemoryError"]),
    "return Mute()": (3, ["returned Mute (__repr__ raised KeyError)"]),
    "raise OSError(9, 'Bad file descriptor')": (3, ["OSError: [Errno 9]"]),
}


@pytest.mark.exhaustive(keep=8)
@pytest.mark.gate(keep=2)
@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("what", RAISES)
def test_any_exception_of_a_hook_is_a_plugin_error(tmp_path, what, hook):
    """Status 3, or that of its own class, with plugin and hook; never a bug of mlreg."""
    text = doing(hook, what).replace("RunConfig, hook", "DataError, RunConfig, hook") + CLASSES
    write_plugin(tmp_path, "flowers_plugin", text)
    plugins = KnownPlugins(write_settings(tmp_path, {"flowers": "flowers_plugin"})).load("flowers")
    known = {
        "mlreg_presets": {},
        "mlreg_dataset": {"config": None, "data_dir": None, "progress": None},
        "mlreg_model": {"config": None, "data": None, "learning_rate": None},
    }
    status, said = RAISES[what]
    with pytest.raises(MlregError) as caught:
        plugins.call(hook, dict, **known[hook])
    assert caught.value.exit_status == status
    for each in said:
        assert each.format(hook=hook) in str(caught.value).replace("\x1b", "\\x1b")
    assert len(str(caught.value)) < 1500


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate
@pytest.mark.parametrize(
    "what",
    ["raise Mute()", "raise Partial()", "raise Textless('x')", "deep()", "raise Base('all')"],
)
def test_a_command_shows_an_exception_that_cannot_be_printed(project, what):
    """In three lines, also with --traceback."""
    text = doing("mlreg_dataset", what).replace("RunConfig, hook", "DataError, RunConfig, hook")
    folder = project(text + CLASSES)
    done = faked("run", "flowers", cwd=folder)
    assert_error(done, RAISES[what][0])
    assert "bug in mlreg" not in done.stderr
    assert faked("--traceback", "run", "flowers", cwd=folder).status == RAISES[what][0]


def test_a_message_that_raises_has_a_substitute():
    """The substitute names the exception; long messages are truncated."""

    class MuteError(Exception):
        def __str__(self):
            raise ZeroDivisionError

        __repr__ = __str__

    assert one_line(MuteError()) == "(__str__ raised ZeroDivisionError)"
    assert safe_repr(MuteError()) == "__repr__ raised ZeroDivisionError"
    assert len(one_line(ValueError("x" * 10_000))) < 600


# --- what hooks return ---

ODD = """

class Odd(dict):
    def items(self):
        raise OSError("odd")
    keys = __iter__ = __len__ = items


class Names(list):
    def __iter__(self):
        raise OSError("odd")
"""

RETURNED = {
    "presets": ("    return {\n", "    return Odd() or {\n", "mlreg_presets"),
    "class names": ('("setosa", "versicolor", "virginica")', "Names(['a'])", "mlreg_dataset"),
}


@pytest.mark.parametrize("what", RETURNED)
def test_a_value_that_raises_on_access_is_a_plugin_error(project, what):
    """Status 3, with the hook that returned it."""
    old, new, hook = RETURNED[what]
    assert old in TABLE_PLUGIN
    folder = project(TABLE_PLUGIN.replace(old, new) + ODD)
    assert_error(
        faked("run", "flowers", cwd=folder), 3, f"'flowers' failed in {hook}: OSError: odd"
    )


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate(keep=1)
@pytest.mark.parametrize("words", ["fetch", "verify", "path"])
def test_a_cache_that_raises_is_a_plugin_error(project, words):
    """Status 3, with the hook that returned it."""
    cache = "class Cache:\n    def __getattr__(self, name):\n        raise OSError('dry')\n"
    folder = project(doing("mlreg_data", "return Cache()") + cache)
    done = forked_mlreg("data", words, "flowers", cwd=folder)
    assert_error(done, 3, "'flowers' failed in mlreg_data: OSError: dry")
