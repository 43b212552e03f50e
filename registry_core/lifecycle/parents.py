"""The version whose weights a run starts with: found, opened, taken from, and recorded.

A version is known by the digest of its manifest, which its copies in other registries have too. A
run that has a checkpoint needs nothing of it any more.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import file_digest
from pathlib import Path
from typing import Any

from registry_core.errors import IntegrityError, UsageError
from registry_core.formatting import counted
from registry_core.lifecycle.backend import TrainingBackend
from registry_core.lifecycle.context import OpenParent, ParentModel, RunContext, Workspace
from registry_core.lifecycle.spec import RunSpec, StartFrom
from registry_core.lifecycle.sweep_evidence import is_confirmation
from registry_core.plugins import custom_code
from registry_core.records import MODEL_FILE, PARENT, Origin, Version
from registry_core.settings import Settings
from registry_core.store import Store
from registry_core.store import manifest as manifests
from registry_core.store.checkpoint import read_checkpoint
from registry_core.types import DataSplits, Observer, WeightTransfer

# A line names this many layers; the log and the record have all.
_NAMED = 3

MANIFEST_FILE = "parent.json"


class NothingFitsError(UsageError):
    """No layer of the new model has the shapes of one of the version to start from."""


def start_from_version(version: Version) -> StartFrom:
    """What a specification says of the version to start from."""
    file = version.file(MODEL_FILE)
    if file is None:  # pragma: no cover - publishing refuses a version without one
        raise UsageError(f"{version.ref} has no {MODEL_FILE}.", "Start from another version.")
    return StartFrom(version.ref, version.digest, file.sha256)


def parents_in(store: Store, settings: Settings) -> OpenParent:
    """Opens the versions of a registry, or copies of them under another name."""

    @contextmanager
    def opened(start: StartFrom) -> Iterator[ParentModel]:
        version = find_parent(store, start)
        manifest = store.manifest(version)
        registry = store.registry_id()
        here = Origin(registry, version.model, version.version) if registry else None
        with tempfile.TemporaryDirectory() as folder:
            file = store.copy_out(version, MODEL_FILE, Path(folder) / MODEL_FILE)
            with _model_of(start, version, manifest, file, settings):
                yield ParentModel(file, manifest, version.origin or here)

    return opened


def copy_parent(store: Store, start: StartFrom, folder: Path) -> list[Path]:
    """Copy into a folder what a worker without the registry needs to start from a version.

    Returns:
        The files; `parents_below` finds them in a folder of the worker.
    """
    version = find_parent(store, start)
    content = folder / MANIFEST_FILE
    content.write_bytes(store.manifest_content(version))
    return [content, store.copy_out(version, MODEL_FILE, folder / MODEL_FILE)]


def parents_below(folder: Path, settings: Settings) -> OpenParent:
    """Opens the version that `copy_parent` wrote, which is checked by the specification."""

    @contextmanager
    def opened(start: StartFrom) -> Iterator[ParentModel]:
        files = {MANIFEST_FILE: start.digest, MODEL_FILE: start.sha256}
        for name, digest in files.items():
            with (folder / name).open("rb") as stream:
                if file_digest(stream, "sha256").hexdigest() != digest:
                    raise IntegrityError(
                        f"{name} of {start.ref} was changed on its way to this worker.",
                        "Start the run again.",
                    )
        content = (folder / MANIFEST_FILE).read_bytes()
        version, manifest = manifests.parse(content, start.digest)
        file = folder / MODEL_FILE
        with _model_of(start, version, manifest, file, settings):
            yield ParentModel(file, manifest)

    return opened


@contextmanager
def _model_of(
    start: StartFrom, version: Version, manifest: Mapping[str, Any], file: Path, settings: Settings
) -> Iterator[None]:
    """Import the code of a version's model for the block."""
    recorded = version.file(MODEL_FILE)
    if recorded is None or recorded.sha256 != start.sha256:
        raise IntegrityError(
            f"The model of {start.ref} is not the one that this run starts from.",
            "Its digest is another one.",
            f"mlreg verify {start.ref}",
        )
    with custom_code.find_code(version, manifest, file, settings).imported():
        yield


def find_parent(store: Store, start: StartFrom) -> Version:
    """The version to start from, or a copy of it.

    Raises:
        UsageError: it is not in this registry, or it was removed.
    """
    model = start.ref.partition("@")[0]
    names = store.model_names()
    removed = None
    for name in sorted(names, key=lambda each: each != model):
        entry = store.copy_of(name, start.digest)
        if entry is not None and entry.removed is None:
            return entry.version
        removed = removed or entry
    if removed is not None:
        raise UsageError(
            f"{start.ref}, whose weights this run starts with, was removed.",
            "It can be restored until its files are deleted.",
            f"mlreg restore {removed.version.ref}",
        )
    raise UsageError(
        f"{start.ref}, whose weights this run starts with, is not in this registry.",
        f"Its files were deleted, or it is in another one: sha256:{start.digest[:12]}.",
        f"mlreg list {model} --removed" if model in names else "mlreg list",
    )


def start_model(
    model: Any,
    spec: RunSpec,
    data: DataSplits,
    backend: TrainingBackend,
    workspace: Workspace,
    context: RunContext,
) -> dict[str, Any] | None:
    """Give a new model the weights that its run starts with.

    Args:
        model: as the plugin built it; is changed in place.
        spec: says which version's.
        data: the splits.
        backend: loads the version's model.
        workspace: of the run; if it has a checkpoint, the weights come from there.
        context: opens the version, and hears what was taken.

    Returns:
        What is recorded; None for a run that starts from no version.

    Raises:
        UsageError: the version is gone.
        NothingFitsError: nothing of it fits.
    """
    start = spec.start_from
    if start is None:
        return None
    began_with = (workspace.record or {}).get(PARENT)
    if isinstance(began_with, Mapping) and _has_checkpoint(workspace):
        return dict(began_with)
    if context.open_parent is None:
        raise UsageError(f"{start.ref} cannot be opened here.", "Run in a registry that has it.")
    with context.open_parent(start) as parent:
        transfer = backend.take_weights(model, data.train, parent.file)
    if not transfer.taken:
        raise NothingFitsError(
            f"Nothing of {start.ref} fits: {_why_nothing(transfer)}.",
            "A layer takes weights if its name and its shapes are the same: use the settings that "
            "decide the shapes as the version has them.",
            f"mlreg show {start.ref}",
        )
    if spec.sweep is None or is_confirmation(spec.sweep):  # it is said once of all trials
        _say(start, transfer, context.observer)
        _warn_of_other_classes(start, parent.manifest, data, context.observer)
    origin = {"origin": parent.origin.to_json()} if parent.origin else {}
    name, _, number = start.ref.partition("@")
    return {
        **start.to_json(),
        "model": name,
        "version": int(number),
        **origin,
        **transfer.to_json(),
    }


def _has_checkpoint(workspace: Workspace) -> bool:
    """Whether training goes on from a checkpoint; a damaged one is not used."""
    if workspace.checkpoint is None:
        return False
    try:
        read_checkpoint(workspace.checkpoint)
    except IntegrityError:
        return False
    return True


def _say(start: StartFrom, transfer: WeightTransfer, observer: Observer) -> None:
    layers = len(transfer.taken) + len(transfer.fresh)
    of = f" in its part {transfer.source}" if transfer.source else ""
    into = f" for the part {transfer.part}" if transfer.part else ""
    observer.say(
        f"Starts from {start.ref}: takes the weights of {len(transfer.taken):,} of "
        f"{counted(layers, 'layer')}{of}{into}, {transfer.parameters:,} of "
        f"{transfer.of_parameters:,} parameters"
    )
    if transfer.fresh:
        named = [f"{path} ({why})" for path, why in transfer.fresh.items()]
        observer.say(f"Not taken, starts fresh: {_some(named)}")
    if transfer.unused:
        observer.say(f"Not used of {start.ref}: {_some(transfer.unused)}")


def _some(names: Any) -> str:
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"


def _why_nothing(transfer: WeightTransfer) -> str:
    return _some([f"{path} ({why})" for path, why in transfer.fresh.items()]) or "it has no weights"


def _warn_of_other_classes(
    start: StartFrom, manifest: Mapping[str, Any], data: DataSplits, observer: Observer
) -> None:
    """Warn if the last layer may have taken weights that mean other classes."""
    then, now = (manifest.get("data") or {}).get("class_names") or (), data.class_names or ()
    if len(then) == len(now) and list(then) != list(now):
        observer.warn(
            f"{start.ref} has other classes ({_some(list(then))}), as many as there are here: a "
            "last layer that took its weights begins with theirs."
        )
