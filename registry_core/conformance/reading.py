"""Rules about mlreg_inputs, with which a plugin reads files for `mlreg predict`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from registry_core.conformance.datasets import splits_valid
from registry_core.conformance.rule import DATASET, NotApplicable, RuleFailure, rule
from registry_core.conformance.subject import Subject
from registry_core.data.input_files import InputFile
from registry_core.data.signature import signature
from registry_core.errors import DataError, MlregError
from registry_core.lifecycle.read_inputs import HOOK, InputReader, is_bug
from registry_core.types import ArraySplit

# No format has a file like these.
_BROKEN = {"empty": b"", "noise": bytes(range(255, 127, -1)) * 4}
_PICTURES = (".png", ".bmp")


@rule(
    "mlreg_inputs gives what the model takes",
    remedy="Return (files, ...) arrays of the dtype, shape and nesting of the dataset's inputs.",
    cost="data",
    kinds=DATASET,
    needs=[splits_valid],
)
def read_inputs_fit(subject: Subject) -> None:
    """Write the first test example to a file, read it with mlreg_inputs, and compare.

    The file is a line of text, a CSV table or a PNG; a plugin that reads none of these is not
    checked. The file stays as it is.
    """
    reader = _reader(subject)
    content, suffix = _file_of_first_example(subject, reader.suffixes())
    file = _written(subject, f"example{suffix}", content)
    try:
        _call(subject, file)
    except MlregError as error:
        if not isinstance(error, DataError) and is_bug(error):
            raise
        raise NotApplicable("It reads no file that could be made of its examples.") from None
    _check_unchanged(file, content)
    try:
        found = reader.read_at_once([file])
    except DataError as error:
        raise RuleFailure(error.what) from None
    if len(found.names) != 1:
        raise RuleFailure(f"A file with one example was read as {len(found.names)} examples.")


@rule(
    "mlreg_inputs raises DataError for a broken file",
    remedy="Catch what reading raises, and raise mlreg.DataError with what is wrong in the file.",
    cost="data",
    tier="recommended",
    kinds=DATASET,
    needs=[splits_valid],
)
def broken_files_named(subject: Subject) -> None:
    """Read an empty file and one of random bytes, each of which stays as it is.

    Returning inputs is allowed: any bytes may be a text.
    """
    suffix = next(iter(_reader(subject).suffixes()), ".txt")
    for name, content in _BROKEN.items():
        file = _written(subject, f"{name}{suffix}", content)
        try:
            _call(subject, file)
        except DataError:
            pass
        except MlregError as error:
            kind = type(error.__cause__).__name__ if error.__cause__ else type(error).__name__
            what = "an empty file" if not content else "a file of random bytes"
            raise RuleFailure(f"It raised {kind} for {what}.") from None
        _check_unchanged(file, content)


def _reader(subject: Subject) -> InputReader:
    if not subject.plugins.providers(HOOK):
        raise NotApplicable(f"It has no {HOOK}.")
    test = {"inputs": signature(subject.data.test)["inputs"]}
    manifest = {"data": {"splits": {"test": test}}}
    return InputReader(subject.plugins, subject.spec.config, manifest, subject.observer())


def _call(subject: Subject, file: InputFile) -> None:
    subject.plugins.call(
        HOOK,
        paths=[file.path],
        config=subject.spec.config,
        signature=signature(subject.data.test)["inputs"],
        progress=subject.observer(),
    )


def _written(subject: Subject, name: str, content: bytes) -> InputFile:
    folder = subject.folder / "read"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(content)
    return InputFile(path, name, len(content))


def _check_unchanged(file: InputFile, content: bytes) -> None:
    if not file.path.is_file() or file.path.read_bytes() != content:
        raise RuleFailure(f"{HOOK} changed the file that it read.", "Open files for reading alone.")


def _file_of_first_example(subject: Subject, suffixes: list[str]) -> tuple[bytes, str]:
    """A file that holds the first test example, and its suffix.

    Raises:
        NotApplicable: no file of a common format can hold it.
    """
    split = subject.data.test
    if isinstance(split, ArraySplit):
        inputs = split.inputs
        if isinstance(inputs, Mapping):
            columns = {str(name): _cell(column[0]) for name, column in inputs.items()}
            if all(getattr(value, "ndim", 0) == 0 for value in columns.values()):
                return _csv([list(columns), list(columns.values())]), _suffix(suffixes, ".csv")
        elif hasattr(inputs, "dtype"):
            return _file_of(inputs[0], suffixes)
    raise NotApplicable("No file of a common format can hold one of its examples.")


def _file_of(value: Any, suffixes: list[str]) -> tuple[bytes, str]:
    if isinstance(value, str | bytes):
        text = value if isinstance(value, bytes) else value.encode()
        return text + b"\n", _suffix(suffixes, ".txt")
    if value.ndim == 1:
        return _csv([value.tolist()]), _suffix(suffixes, ".csv")
    picture = next((each for each in _PICTURES if each in suffixes), None)
    if picture and value.dtype == "uint8" and value.ndim in (2, 3):
        return _picture(value, picture), picture
    raise NotApplicable("No file of a common format can hold one of its examples.")


def _cell(value: Any) -> Any:
    """A value, also where it is alone in an array."""
    return value.item() if getattr(value, "size", 0) == 1 else value


def _suffix(suffixes: list[str], usual: str) -> str:
    return usual if usual in suffixes or not suffixes else suffixes[0]


def _csv(rows: list[list[Any]]) -> bytes:
    import csv
    import io

    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _picture(value: Any, suffix: str) -> bytes:
    import io

    from PIL import Image

    stream = io.BytesIO()
    shape = value.shape[:2] if value.shape[2:] == (1,) else value.shape
    try:
        Image.fromarray(value.reshape(shape)).save(stream, Path(f"x{suffix}").suffix[1:])
    except (TypeError, ValueError):
        raise NotApplicable("No picture can hold one of its examples.") from None
    return stream.getvalue()


RULES = (read_inputs_fit, broken_files_named)
