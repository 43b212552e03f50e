"""plugins.toml, and the folders of the user: for data, and for the cache.

Knows the file's schema and the environment variables. Imports no plugin.
"""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry_core.dataclass import dataclass
from registry_core.errors import UsageError
from registry_core.rules import KEYS, PromotionRule, is_alias_name, wrong_value

if TYPE_CHECKING:
    from registry_core.receivers import Receiver

SETTINGS_FILE = "plugins.toml"

# section -> known keys; None allows any key with a text as its value
_SCHEMA: Mapping[str, Sequence[str] | None] = {
    "registry": ("path", "index", "objects", "rollback_days", "cache_gb"),
    "plugins": None,
    "extensions": None,
    "promotion": None,
    "remotes": None,
    "notify": None,
    "sweep": None,
}
# sections whose keys are names and whose values are tables; each is checked where it is read
_OF_TABLES = ("promotion", "remotes", "notify", "sweep")
_REMOTE_KEYS = ("path", "index", "objects")
# of [sweep.NAME]: key -> the type of its value
_SWEEP_KEYS: Mapping[str, type | tuple[type, ...]] = {
    "plugin": str,
    "preset": str,
    "model": str,
    "data_dir": str,
    "from": str,
    "trials": int,
    "sampler": str,
    "metric": str,
    "prune": str,
    "minutes": (int, float),
    "register": (str, int),
    "confirm": int,
    "parallel": int,
    "parameters": dict,
}
_TYPE_WORDS = {str: "a text", int: "a whole number", dict: "a section of settings"}
# the size of the cache of a team's objects on this machine, if the file does not say
CACHE_GB = 10.0


@dataclass(frozen=True)
class Remote:
    """Another registry that plugins.toml names: a folder, or both halves of a team's registry."""

    path: Path | None = None
    index: str = ""
    objects: str = ""


@dataclass(frozen=True)
class NamedSweep:
    """A sweep that plugins.toml names.

    Args:
        plugin: the dataset plugin's name.
        parameters: setting -> value, range or list of choices, as `-p` and TOML have them.
        options: the other keys that the file has: `preset`, `trials`, `sampler`, …
    """

    plugin: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Settings:
    """The content of plugins.toml.

    Args:
        file: the file that was read; None without one.
        registry: the registry's folder; None if the file names none. Beside `index`, the folder
            that runs write into.
        plugins: dataset plugin's name -> module.
        extensions: extension's name -> module.
        promotion: alias -> its rule, which applies in addition to the registry's own.
        rollback_days: for how many days a version that lost any alias cannot be removed; None if
            the file does not say.
        index: the URL of a team's index, without a password; empty if the file names none.
        objects: the URL of a team's objects; empty if the file names none.
        remotes: name -> another registry, to push to and pull from.
        receivers: who is told of what happens to aliases.
        cache_gb: how much of a team's objects is kept on this machine, in GB.
        sweeps: name -> a sweep that `mlreg sweep NAME` starts.
    """

    file: Path | None = None
    registry: Path | None = None
    plugins: Mapping[str, str] = field(default_factory=dict)
    extensions: Mapping[str, str] = field(default_factory=dict)
    promotion: Mapping[str, PromotionRule] = field(default_factory=dict)
    rollback_days: float | None = None
    index: str = ""
    objects: str = ""
    remotes: Mapping[str, Remote] = field(default_factory=dict)
    cache_gb: float = CACHE_GB
    receivers: Sequence[Receiver] = ()
    sweeps: Mapping[str, NamedSweep] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The folder in which plugins' modules are found, in addition to installed ones."""
        return self.file.parent if self.file else current_folder()


def find_settings(start: Path | None = None) -> Settings:
    """Read plugins.toml of this folder, or of the nearest folder above that has one.

    Args:
        start: the folder; None is the current one.

    Raises:
        UsageError: the file is malformed, not UTF-8, or has an unknown key; or the current folder
            was deleted.
    """
    here = (start or current_folder()).resolve()
    for folder in (here, *here.parents):
        file = folder / SETTINGS_FILE
        with suppress(PermissionError):  # no permission to read the folder
            if file.is_file():
                return read_settings(file)
    return Settings()


def read_settings(file: Path) -> Settings:
    """Read one plugins.toml. Relative paths in it are relative to its folder.

    Raises:
        UsageError: the file cannot be read, is malformed, not UTF-8, or has an unknown key.
    """
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}.") from error
    try:
        text = raw.decode("utf-8-sig")  # some editors write a byte order mark
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - raw.rfind(b"\n", 0, error.start)
        raise UsageError(
            f"{file}, line {line}, column {column}: not UTF-8 (byte 0x{raw[error.start]:02x}).",
            "Save the file as UTF-8.",
        ) from error
    import tomllib  # 6 ms, which a folder without this file need not wait for

    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        end = f"line {text.count(chr(10)) + 1}, column {len(text) - text.rfind(chr(10))}"
        said = str(error).replace("end of document", f"{end}, the end")
        raise UsageError(f"{file} is not valid TOML: {said}.") from error
    _check(tables, text, file)
    registry = tables.get("registry", {})
    path, days = registry.get("path"), registry.get("rollback_days")
    return Settings(
        file=file,
        registry=file.parent / expand_home(path, f"[registry] path in {file}") if path else None,
        plugins=tables.get("plugins", {}),
        extensions=tables.get("extensions", {}),
        promotion=_promotion_rules(tables.get("promotion", {}), days, text, file),
        rollback_days=days,
        index=registry.get("index", ""),
        objects=registry.get("objects", ""),
        remotes=_remotes(tables.get("remotes", {}), text, file),
        receivers=_receivers(tables.get("notify", {}), text, file),
        cache_gb=registry.get("cache_gb", CACHE_GB),
        sweeps=_sweeps(tables.get("sweep", {}), text, file),
    )


def data_folder(variable: str, name: str = "mlreg") -> Path:
    """The user's data folder for mlreg, or for a part of it.

    Raises:
        UsageError: HOME is not known; the message names the variable to set.
    """
    import platformdirs  # takes 11 ms, so only if it is needed

    with _homeless(variable):
        return Path(platformdirs.user_data_dir(name, appauthor=False)).expanduser()


def cache_folder(name: str) -> Path:
    """The folder for a dataset plugin's downloads: in $MLREG_CACHE, or the user's cache folder.

    Args:
        name: the plugin's name.

    Returns:
        The folder; it may not exist yet.

    Raises:
        UsageError: MLREG_CACHE starts with `~user` of an unknown user, or HOME is not known.
    """
    return cache_place()[0] / name


def cache_place() -> tuple[Path, str]:
    """The folder that holds each plugin's cache, and what chose it.

    Raises:
        UsageError: as `cache_folder`.
    """
    if home := os.environ.get("MLREG_CACHE"):
        return expand_home(home, "MLREG_CACHE"), "named by MLREG_CACHE"
    import platformdirs

    with _homeless("MLREG_CACHE"):
        folder = platformdirs.user_cache_dir("mlreg", appauthor=False)
        return Path(folder).expanduser(), "the default, as MLREG_CACHE names none"


def expand_home(path: str, named_by: str) -> Path:
    """The path, with a leading `~` or `~user` replaced by the home folder.

    Args:
        path: the path as it was written.
        named_by: where it was written, for the error.

    Raises:
        UsageError: there is no such user, or the user has no home folder.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        user = Path(path).parts[0]
        raise UsageError(
            f"{named_by} is '{path}', and '{user}' has no home folder on this machine.",
            "Write the full path, starting with '/'.",
        ) from None


def current_folder() -> Path:
    """The current folder.

    Raises:
        UsageError: it was deleted, or this user has no permission to read it.
    """
    try:
        return Path.cwd()
    except OSError as error:
        raise UsageError(
            f"The current folder cannot be used: {error.strerror}.",
            "It was deleted, or its permissions were changed. Change to another folder.",
            "cd /",
        ) from error


@contextmanager
def _homeless(variable: str) -> Iterator[None]:
    """Turn an unknown home folder into a UsageError that names the variable to set."""
    try:
        yield
    except RuntimeError:
        raise UsageError(
            f"Your home folder is not known: HOME is not set, and user {os.getuid()} has none.",
            f"Set HOME or {variable} to a folder that you can write.",
            f'export {variable}="$PWD/{variable.removeprefix("MLREG_").lower()}"',
        ) from None


def _check(tables: Mapping[str, Any], text: str, file: Path) -> None:
    for section, table in tables.items():
        if section not in _SCHEMA:
            raise _unknown(section, list(_SCHEMA), text, file)
        if not isinstance(table, dict):
            raise _misplaced(f"'{section}' is a section, not a value", section, text, file)
        if section in _OF_TABLES:
            continue
        known = _SCHEMA[section]
        for key, value in table.items():
            if known is not None and key not in known:
                raise _unknown(key, list(known), text, file, section)
            wrong = _wrong_setting(key, value) if known is not None else _wrong_text(value)
            if wrong:
                raise _misplaced(f"'{key}' {wrong}", key, text, file, section)
    _check_halves(tables.get("registry", {}), text, file, "registry")


def _wrong_setting(key: str, value: Any) -> str | None:
    """What is wrong with a value of [registry]; None if nothing is."""
    if key == "rollback_days":
        return wrong_value(key, value, "")
    if key == "cache_gb":
        positive = isinstance(value, int | float) and not isinstance(value, bool) and value > 0
        return None if positive and value < math.inf else "must be a number above 0"
    return _wrong_text(value)


def _wrong_text(value: Any) -> str | None:
    return None if isinstance(value, str) else f"must be a text, not {type(value).__name__}"


def _check_halves(table: Mapping[str, Any], text: str, file: Path, section: str) -> None:
    """Check the URLs of a team's registry, which come in pairs and have no password."""
    if not {"index", "objects"} & table.keys():
        return
    from registry_core.urls import has_password, index_problem, objects_problem, without_password

    for key, other, problem_of in (
        ("index", "objects", index_problem),
        ("objects", "index", objects_problem),
    ):
        url = table.get(key)
        if url is None:
            continue
        if problem := problem_of(url):
            raise _misplaced(f"'{key}' {problem}", key, text, file, section)
        if has_password(url):
            raise UsageError(
                f"{file}, {_place(key, text, section)}: '{key}' has a password.",
                "This file is read by everyone who has the project. Put the password into "
                f'~/.pgpass or PGPASSWORD, and write: {key} = "{without_password(url)}"',
                "man 5 pgpass",
            )
        if other not in table:
            raise _misplaced(f"'{key}' needs '{other}' beside it", key, text, file, section)


def _named_tables(
    tables: Mapping[str, Any],
    kind: str,
    noun: str,
    is_name: Callable[[str], bool],
    text: str,
    file: Path,
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """The name, the section and the table of each [KIND.NAME]; raises UsageError for another."""
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise _misplaced(f"'{name}' is a section, [{kind}.{name}]", name, text, file)
        if not is_name(name):
            raise _misplaced(f"'{name}' cannot name a {noun}", name, text, file)
        yield name, f"{kind}.{name}", table


def _receivers(tables: Mapping[str, Any], text: str, file: Path) -> Sequence[Receiver]:
    if not tables:
        return ()
    from registry_core import receivers

    found = []
    is_name = receivers.is_receiver_name
    for name, section, table in _named_tables(tables, "notify", "receiver", is_name, text, file):
        for key, value in table.items():
            if key not in receivers.KEYS:
                raise _unknown(key, list(receivers.KEYS), text, file, section)
            if wrong := receivers.wrong_value(key, value):
                raise _misplaced(f"'{key}' {wrong}", key, text, file, section)
        if wrong := receivers.wrong_section(table):
            raise _misplaced(f"[{section}] {wrong}", section, text, file)
        found.append(receivers.Receiver(name, **table))
    return tuple(found)


def _remotes(tables: Mapping[str, Any], text: str, file: Path) -> Mapping[str, Remote]:
    remotes = {}
    for name, section, table in _named_tables(
        tables, "remotes", "remote", is_alias_name, text, file
    ):
        for key, value in table.items():
            if key not in _REMOTE_KEYS:
                raise _unknown(key, list(_REMOTE_KEYS), text, file, section)
            if wrong := _wrong_text(value):
                raise _misplaced(f"'{key}' {wrong}", key, text, file, section)
        _check_halves(table, text, file, section)
        path, index = table.get("path"), table.get("index", "")
        if bool(path) == bool(index):
            what = f"'{name}' has {'both' if path else 'neither'} a path {'and' if path else 'nor'}"
            raise _misplaced(f"{what} an index", name, text, file)
        folder = file.parent / expand_home(path, f"[{section}] path in {file}") if path else None
        remotes[name] = Remote(folder, index, table.get("objects", ""))
    return remotes


def _sweeps(tables: Mapping[str, Any], text: str, file: Path) -> Mapping[str, NamedSweep]:
    sweeps = {}
    for name, section, table in _named_tables(tables, "sweep", "sweep", is_alias_name, text, file):
        for key, value in table.items():
            if key not in _SWEEP_KEYS:
                raise _unknown(key, list(_SWEEP_KEYS), text, file, section)
            kind = _SWEEP_KEYS[key]
            if not isinstance(value, kind) or isinstance(value, bool):
                words = _TYPE_WORDS[kind] if isinstance(kind, type) else "a number"
                raise _misplaced(f"'{key}' must be {words}", key, text, file, section)
        if "plugin" not in table:
            raise _misplaced(f'[{section}] needs a plugin: plugin = "…"', section, text, file)
        options = {k: v for k, v in table.items() if k not in ("plugin", "parameters")}
        sweeps[name] = NamedSweep(table["plugin"], table.get("parameters", {}), options)
    return sweeps


def _promotion_rules(
    tables: Mapping[str, Any], least_days: float | None, text: str, file: Path
) -> Mapping[str, PromotionRule]:
    rules = {}
    for alias, table in tables.items():
        section = f"promotion.{alias}"
        if not isinstance(table, dict):
            raise _misplaced(f"'{alias}' is a section, [{section}]", alias, text, file)
        if not is_alias_name(alias):
            raise _misplaced(f"'{alias}' cannot name an alias", alias, text, file)
        for key, value in table.items():
            if key not in KEYS:
                raise _unknown(key, list(KEYS), text, file, section)
            if wrong := wrong_value(key, value, alias):
                raise _misplaced(f"'{key}' {wrong}", key, text, file, section)
        days = [each for each in (table.get("rollback_days"), least_days) if each is not None]
        rules[alias] = PromotionRule(**{**table, "rollback_days": max(days, default=None)})
    return rules


def _unknown(
    name: str, known: list[str], text: str, file: Path, section: str | None = None
) -> UsageError:
    near = difflib.get_close_matches(name, known, n=1)
    meant = f" Did you mean '{near[0]}'?" if near else ""
    return UsageError(
        f"{file}, {_place(name, text, section)}: '{name}' is not a known key.",
        f"Known keys: {', '.join(known)}.{meant}",
    )


def _misplaced(
    what: str, name: str, text: str, file: Path, section: str | None = None
) -> UsageError:
    return UsageError(f"{file}, {_place(name, text, section)}: {what}.")


def _place(name: str, text: str, section: str | None) -> str:
    """Line and column of a key, found by searching the text: tomllib does not keep them."""
    written = re.sub("#.*", lambda comment: " " * len(comment[0]), text)
    place = end = 0
    for key in (name,) if section is None else (section, name):
        for found in re.compile(rf"(?<![\w-]){re.escape(key)}(?![\w-])").finditer(written, end):
            if "=" not in written[written.rfind("\n", 0, found.start()) + 1 : found.start()]:
                place, end = found.span()
                break
    column = place - written.rfind("\n", 0, place)
    return f"line {written.count(chr(10), 0, place) + 1}, column {column}"
