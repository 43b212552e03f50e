"""A version's model, or its figures, written for use elsewhere.

A `.keras` export is the registered file itself, checked against its digest. Other formats are
Keras's work; each is read back, and answers as the registered model does, before it is there.
"""

from __future__ import annotations

import shlex
from pathlib import Path, PurePosixPath

from registry_core.errors import IntegrityError, UsageError
from registry_core.exports.outputs import Output
from registry_core.plugins import custom_code
from registry_core.records import FIGURES_FOLDER, MODEL_FILE, Version
from registry_core.refs import shown
from registry_core.settings import Settings
from registry_core.store import Store

# format -> how the name of what is written ends; h5 is Keras's legacy format
FORMATS = {"keras": ".keras", "h5": ".h5", "savedmodel": "", "figures": ""}

# how a file's name ends -> the format that it promises
_SUFFIXES = {".keras": "keras", ".h5": "h5", ".hdf5": "h5"}


def choose_format(form: str | None, path: Path | None, reference: str) -> str:
    """The format of an export, by what was asked for and by the output's name.

    Args:
        form: one of `FORMATS`; None where none was asked for.
        path: where to; None where no name was given.
        reference: the version, for the message.

    Raises:
        UsageError: the format is not known, contradicts the name, or does not follow from it.
    """
    command = f"mlreg export {shlex.quote(reference)}"
    if form is not None and form not in FORMATS:
        raise UsageError(
            f"No format {shown(form)}.",
            f"Formats: {', '.join(FORMATS)}.",
            f"{command} --format keras",
        )
    if path is None:
        return form or "keras"
    promised = _SUFFIXES.get(path.suffix.lower())
    if form is None and promised is None:
        # a name with an ending is probably meant as a file
        typed = shlex.quote(str(path.with_suffix(".keras") if path.suffix else path))
        option = "" if path.suffix else " --format savedmodel"
        raise UsageError(
            f"The name {shown(path.name)} does not say which format to write.",
            f"End it in {' or '.join(_SUFFIXES)}, or add --format: {', '.join(FORMATS)}.",
            f"{command} -o {typed}{option}",
        )
    if form is None or promised in (None, form):
        return form or str(promised)
    right = path.with_suffix(FORMATS[form])
    raise UsageError(
        f"{shown(path.name)} would not be a {form} export: {path.suffix} is for {promised}.",
        f"Leave out --format, or write to {shown(right.name)}.",
        f"{command} --format {form} -o {shlex.quote(str(right))}",
    )


def export(
    store: Store,
    version: Version,
    form: str | None = None,
    path: Path | None = None,
    overwrite: bool = False,
    settings: Settings | None = None,
) -> Path:
    """Write a version's model, or its figures, for use elsewhere.

    Args:
        store: has the version.
        version: the version.
        form: one of `FORMATS`; `keras` and `h5` write one file, `savedmodel` and `figures` a
            folder. None is what the path's name ends in.
        path: where to; None makes a name from the model and its number here.
        overwrite: replace a regular file that is there; a folder that is not empty never is.
        settings: which plugins there are, for a model with layers of its own.

    Returns:
        What was written.

    Raises:
        PluginError: the code of a layer of the model's own is not here.
        UsageError: the format is not known or cannot hold the model, or the output exists.
        IntegrityError: a file is not what its digest says; nothing was written.
        StorageError: the place cannot be written.
    """
    form = choose_format(form, path, version.ref)
    ending = FORMATS[form]
    usual = Path(f"{version.model}-{version.version}{ending or '-' + form}")
    output = Output(
        path=usual if path is None else path,
        folder=not ending,
        overwrite=overwrite,
        command=f"mlreg export {shlex.quote(version.ref)} --format {form} -o",
        fallback=usual,
    )
    with output.draft(ending) as draft:
        if form == "figures":
            _write_figures(store, version, draft)
        else:
            _write_model(store, version, form, draft, settings or Settings())
    return output.path


def _write_figures(store: Store, version: Version, draft: Path) -> None:
    """Copy a version's figures with the folders that they are in."""
    store.manifest(version)  # which says what they are, where the index may lack some
    draft.mkdir()
    for file in version.files:
        path = PurePosixPath(file.path)
        if path.parts[0] != FIGURES_FOLDER:
            continue
        if ".." in path.parts or path.is_absolute():
            raise IntegrityError(
                f"A figure of {version.ref} has a path that leads out of it: {file.path!r:.80}.",
                "Nothing was written.",
                "mlreg verify",
            )
        place = draft.joinpath(*path.parts[1:])
        place.parent.mkdir(parents=True, exist_ok=True)
        store.copy_out(version, file.path, place)


def _write_model(
    store: Store, version: Version, form: str, draft: Path, settings: Settings
) -> None:
    stored = store.copy_out(version, MODEL_FILE, draft.with_name("stored.keras"))
    if form == "keras":
        stored.rename(draft)
        return
    code = custom_code.find_code(version, store.manifest(version), stored, settings)
    from registry_core.training import export_model  # TensorFlow loads here

    try:
        with code.imported():
            export_model(stored, form, draft)
    except UsageError as error:
        instead = f"mlreg export {shlex.quote(version.ref)} --format keras"
        raise UsageError(error.what, error.remedy, instead) from error
