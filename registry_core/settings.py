"""plugins.toml, and the folders of the registry and the cache.

Knows the file's schema and the environment variables. Imports no plugin.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from registry_core.errors import UsageError
from registry_core.rules import KEYS, PromotionRule, is_alias_name, wrong_value

SETTINGS_FILE = "plugins.toml"

# section -> known keys; None allows any key with a text as its value
_SCHEMA: Mapping[str, Sequence[str] | None] = {
    "registry": ("path", "rollback_days"),
    "plugins": None,
    "extensions": None,
    "promotion": None,  # checked by `_promotion_rules`: its keys are aliases, its values tables
}


@dataclass(frozen=True)
class Settings:
    """The content of plugins.toml.

    Args:
        file: the file that was read; None without one.
        registry: the registry's folder; None if the file names none.
        plugins: dataset plugin's name -> module.
        extensions: extension's name -> module.
        promotion: alias -> its rule, which applies in addition to the registry's own.
        rollback_days: for how many days a version that lost any alias cannot be removed; None if
            the file does not say.
    """

    file: Path | None = None
    registry: Path | None = None
    plugins: Mapping[str, str] = field(default_factory=dict)
    extensions: Mapping[str, str] = field(default_factory=dict)
    promotion: Mapping[str, PromotionRule] = field(default_factory=dict)
    rollback_days: float | None = None

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
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        end = f"line {text.count(chr(10)) + 1}, column {len(text) - text.rfind(chr(10))}"
        said = str(error).replace("end of document", f"{end}, the end")
        raise UsageError(f"{file} is not valid TOML: {said}.") from error
    _check(tables, text, file)
    path = tables.get("registry", {}).get("path")
    days = tables.get("registry", {}).get("rollback_days")
    return Settings(
        file=file,
        registry=file.parent / expand_home(path, f"[registry] path in {file}") if path else None,
        plugins=tables.get("plugins", {}),
        extensions=tables.get("extensions", {}),
        promotion=_promotion_rules(tables.get("promotion", {}), days, text, file),
        rollback_days=days,
    )


@dataclass(frozen=True)
class RegistryPlace:
    """Where the registry is, and what chose it.

    Args:
        folder: the registry's folder; it may not exist yet. Of a team's registry, the folder of
            this machine that runs write into.
        named_by: what names it: `--registry`, `MLREG_HOME`, or the path of plugins.toml; empty for
            the default, the user's data folder.
        index: the URL of a team's database, perhaps with a password; empty for a folder.
        objects: the URL of a team's objects; empty for a folder.
    """

    folder: Path
    named_by: str = ""
    index: str = ""
    objects: str = ""

    @property
    def name(self) -> str:
        """The registry as it can be shown: its folder, or both URLs without a password."""
        if not self.index:
            return str(self.folder)
        return f"{without_password(self.index)} and {self.objects}"

    @property
    def reason(self) -> str:
        """Why this folder, as the end of a sentence."""
        if self.named_by:
            return f"named by {self.named_by}"
        return "the default, as neither --registry, MLREG_HOME nor a plugins.toml names one"


def without_password(url: str) -> str:
    """A URL as it can be shown: without a password, and without parameters."""
    from urllib.parse import urlsplit, urlunsplit

    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    return urlunsplit((parts.scheme, user.partition(":")[0] + at + host, parts.path, "", ""))


def registry_place(option: Path | None, settings: Settings) -> RegistryPlace:
    """Find the registry: the option, MLREG_HOME, plugins.toml, or the user's data folder.

    Args:
        option: the value of `--registry`, or None.
        settings: the content of plugins.toml.

    Raises:
        UsageError: the path starts with `~` or `~user`, and that user has no home folder.
    """
    if option is not None:
        return RegistryPlace(expand_home(str(option), "--registry"), "--registry")
    if home := os.environ.get("MLREG_HOME"):
        return RegistryPlace(expand_home(home, "MLREG_HOME"), "MLREG_HOME")
    if settings.registry is not None:
        return RegistryPlace(settings.registry, str(settings.file))
    import platformdirs  # takes 11 ms, so only if it is needed

    with _homeless("MLREG_HOME"):
        folder = platformdirs.user_data_dir("mlreg", appauthor=False)
        return RegistryPlace(Path(folder).expanduser())


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
        if section == "promotion":
            continue
        known = _SCHEMA[section]
        for key, value in table.items():
            if known is not None and key not in known:
                raise _unknown(key, list(known), text, file, section)
            if key == "rollback_days" and known is not None:
                wrong = wrong_value(key, value, "")
            else:
                text_only = f"must be a text, not {type(value).__name__}"
                wrong = None if isinstance(value, str) else text_only
            if wrong:
                raise _misplaced(f"'{key}' {wrong}", key, text, file, section)


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
