"""Export of a version's model or figures to a file or folder outside the registry.

A `.keras` export is the registered file itself, checked against its digest. Keras writes the other
formats; each export is loaded again and compared with the registered model before it appears.
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

# format -> file name extension; h5 is Keras's legacy format
FORMATS = {"keras": ".keras", "h5": ".h5", "savedmodel": "", "figures": ""}

# file name extension -> format
_SUFFIXES = {".keras": "keras", ".h5": "h5", ".hdf5": "h5"}


def choose_format(form: str | None, path: Path | None, reference: str) -> str:
    """The format of an export, from the requested format and the output's name.

    Args:
        form: one of `FORMATS`; None to derive it from the name.
        path: the output; None for a default name.
        reference: the version, for error messages.

    Raises:
        UsageError: the format is unknown, contradicts the name, or cannot be derived from it.
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
        # a name with an extension is probably meant as a file
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
    """Write a version's model or figures to a file or folder.

    Args:
        store: has the version.
        version: the version.
        form: one of `FORMATS`; `keras` and `h5` write a file, `savedmodel` and `figures` a folder.
            None derives it from the path.
        path: the output; None makes a name in the working folder from model and version.
        overwrite: replace an existing regular file; a folder with content is never replaced.
        settings: which plugins there are, for a model with custom layers.

    Returns:
        The path that was written.

    Raises:
        PluginError: the code of a custom layer is missing.
        UsageError: the format is unknown or cannot hold the model, or the output exists.
        IntegrityError: a file does not match its digest; nothing was written.
        StorageError: the output cannot be written.
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
    """Copy a version's figures, keeping their subfolders."""
    store.manifest(version)  # the index may lack files that the manifest has
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
