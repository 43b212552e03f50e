"""The formats of exports, and which one a request means. Imports nothing that writes them."""

from __future__ import annotations

import shlex
from pathlib import Path

from registry_core.errors import UsageError
from registry_core.refs import shown

# format -> file name extension, or "" for a folder; h5 is Keras's legacy format
FORMATS = {
    "keras": ".keras",
    "h5": ".h5",
    "savedmodel": "",
    "onnx": ".onnx",
    "litert": ".tflite",
    "hub": "",
    "figures": "",
    "files": "",
}

# format -> the extra that installs what writes and runs it
EXTRAS = {"onnx": "onnx", "litert": "litert"}

# file name extension -> format
_SUFFIXES = {
    ".keras": "keras",
    ".h5": "h5",
    ".hdf5": "h5",
    ".onnx": "onnx",
    ".tflite": "litert",
}


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


def check_int8(form: str, int8: bool, path: Path | None, reference: str) -> None:
    """Refuse `--int8` for a format without it, with both remedies.

    Raises:
        UsageError: only `litert` has it.
    """
    if not int8 or form == "litert":
        return
    right = "" if path is None else f" -o {shlex.quote(str(path.with_suffix('.tflite')))}"
    raise UsageError(
        f"--int8 is for litert exports; this one is {form}.",
        "Leave out --int8, or add --format litert.",
        f"mlreg export {shlex.quote(reference)} --format litert --int8{right}",
    )
