"""Which registry a command works on: a folder, or a team's database and objects.

Looks at the option, the environment and plugins.toml. Opens nothing.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from registry_core.dataclass import dataclass
from registry_core.errors import UsageError
from registry_core.settings import CACHE_GB, Settings, data_folder, expand_home

_VARIABLES = ("MLREG_HOME", "MLREG_INDEX", "MLREG_OBJECTS")


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
        cache_gb: how much of a team's objects is kept on this machine, in GB.
    """

    folder: Path
    named_by: str = ""
    index: str = ""
    objects: str = ""
    cache_gb: float = CACHE_GB

    @property
    def name(self) -> str:
        """The registry as it can be shown: its folder, or both URLs without a password."""
        if not self.index:
            return str(self.folder)
        from registry_core.urls import without_password

        return f"{without_password(self.index)} and {self.objects}"

    @property
    def reason(self) -> str:
        """Why this registry, as the end of a sentence."""
        if self.named_by:
            return f"named by {self.named_by}"
        return "the default, as neither --registry, MLREG_HOME nor a plugins.toml names one"


def registry_place(option: Path | None, settings: Settings) -> RegistryPlace:
    """Find the registry: the option, the environment, plugins.toml, or the user's data folder.

    Args:
        option: the value of `--registry`, or None.
        settings: the content of plugins.toml.

    Raises:
        UsageError: the path starts with `~` or `~user`, and that user has no home folder; or what
            names a team's registry is incomplete, or contradicts MLREG_HOME.
    """
    home, index, objects = (os.environ.get(name, "") for name in _VARIABLES)
    if option is not None:
        return RegistryPlace(_folder_of(str(option), "--registry"), "--registry")
    if home and (index or objects):
        other = "MLREG_INDEX" if index else "MLREG_OBJECTS"
        raise UsageError(
            f"MLREG_HOME and {other} are both set, and name different registries.",
            "Unset the one that is not meant.",
            f"unset {other}",
        )
    if home:
        return RegistryPlace(_folder_of(home, "MLREG_HOME"), "MLREG_HOME")
    if index or objects:
        named_by = "MLREG_INDEX" if index else "MLREG_OBJECTS"
        urls = index or settings.index, objects or settings.objects
        return _team_place(*urls, None, named_by, settings.cache_gb)
    if settings.index:
        return _team_place(
            settings.index, settings.objects, settings.registry, str(settings.file),
            settings.cache_gb,
        )  # fmt: skip
    if settings.registry is not None:
        return RegistryPlace(settings.registry, str(settings.file))
    return RegistryPlace(data_folder("MLREG_HOME"))


def named_registry(text: str, settings: Settings) -> RegistryPlace:
    """The registry that a command names: a remote of plugins.toml, or a folder.

    Args:
        text: a remote's name, or a path; a folder that does not exist is written with a `/`.
        settings: the content of plugins.toml.

    Raises:
        UsageError: it is neither.
    """
    if (remote := settings.remotes.get(text)) is not None:
        named_by = f"[remotes.{text}] in {settings.file}"
        if remote.index:
            return _team_place(remote.index, remote.objects, None, named_by, settings.cache_gb)
        assert remote.path is not None  # noqa: S101 - one of the two, by `_remotes`
        return RegistryPlace(remote.path, named_by)
    if "/" not in text and not os.path.isdir(text):  # noqa: PTH112 - never raises
        known = ", ".join(sorted(settings.remotes)) or "none"
        raise UsageError(
            f"There is no remote '{text}', and no folder of that name.",
            f"Remotes in plugins.toml: {known}. A new folder is written as ./{text}.",
            "mlreg env",
        )
    return RegistryPlace(_folder_of(text, "the command"), "the command")


def _folder_of(text: str, named_by: str) -> Path:
    """The folder that a path names; a URL is none.

    Raises:
        UsageError: it is a URL; or as `expand_home`.
    """
    # a path has one slash where the URL had two
    if found := re.match(r"(\w+):/", text):
        raise UsageError(
            f"{named_by} names a folder, not a URL of {found[1]}.",
            "MLREG_INDEX and MLREG_OBJECTS name a team's registry; [remotes.NAME] in plugins.toml "
            "names another one.",
            "export MLREG_INDEX=postgresql://HOST/DATABASE MLREG_OBJECTS=s3://BUCKET/PREFIX",
        )
    return expand_home(text, named_by)


def _team_place(
    index: str, objects: str, folder: Path | None, named_by: str, cache_gb: float
) -> RegistryPlace:
    """A team's registry, whose runs write into a folder of this machine.

    Raises:
        UsageError: one of the URLs is missing or malformed.
    """
    import hashlib

    from registry_core.urls import index_problem, objects_problem, without_password

    for url, other, variable in (
        (index, objects, "MLREG_INDEX"),
        (objects, index, "MLREG_OBJECTS"),
    ):
        if not url:
            kind = "the objects" if variable == "MLREG_OBJECTS" else "the index"
            example = (
                "s3://BUCKET/PREFIX" if kind == "the objects" else "postgresql://HOST/DATABASE"
            )
            raise UsageError(
                f"{named_by} names {without_password(other)}, and nothing names {kind} beside it.",
                "A team's registry has both.",
                f"export {variable}={example}",
            )
    for url, problem in ((index, index_problem(index)), (objects, objects_problem(objects))):
        if problem:
            raise UsageError(
                f"{without_password(url)} {problem}.", f"The registry is named by {named_by}."
            )
    if folder is None:
        key = hashlib.sha256(f"{without_password(index)}\n{objects}".encode()).hexdigest()[:12]
        folder = data_folder("XDG_DATA_HOME", "mlreg-team") / key
    return RegistryPlace(folder, named_by, index, objects, cache_gb)
