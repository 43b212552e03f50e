"""The checkpoint of a run: a zip of one JSON text and the bytes of the tensors.

Nothing in it can run code, and reading how far a run came needs no NumPy. The zip has a checksum
of each part, so damage is detected.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from registry_core.errors import IntegrityError

SCHEMA = 1
_STATE = "state.json"


def write_checkpoint(
    stream: BinaryIO, state: Mapping[str, Any], tensors: Sequence[bytes | memoryview]
) -> None:
    """Write a checkpoint, uncompressed.

    Args:
        stream: seekable.
        state: JSON, infinities included; has `epoch`, the number of finished epochs, and `step`,
            the number of finished batches of the next one.
        tensors: the bytes of each, in the order that `state` expects.
    """
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        head = {"schema": SCHEMA, "tensors": len(tensors)}
        archive.writestr(_STATE, json.dumps({**state, **head}))
        for number, tensor in enumerate(tensors):
            archive.writestr(str(number), bytes(tensor))


def read_state(file: Path) -> dict[str, Any]:
    """What `write_checkpoint` was given as `state`.

    Raises:
        IntegrityError: the file is not a checkpoint, or is damaged.
    """
    return _read(file, with_tensors=False)[0]


def read_checkpoint(file: Path) -> tuple[dict[str, Any], list[bytes]]:
    """State and tensors; the checksum of each part is compared.

    Raises:
        IntegrityError: the file is not a checkpoint, or is damaged.
    """
    return _read(file, with_tensors=True)


def _read(file: Path, with_tensors: bool) -> tuple[dict[str, Any], list[bytes]]:
    try:
        with zipfile.ZipFile(file) as archive:
            state = json.loads(archive.read(_STATE))
            if state["schema"] != SCHEMA:
                raise ValueError(f"schema {state['schema']}, not {SCHEMA}")
            # every reader needs these two
            state["epoch"], state["step"] = int(state["epoch"]), int(state["step"])
            # by the state, which has a checksum; the zip's own list of its parts has none
            count = int(state.pop("tensors"))
            tensors = [archive.read(str(number)) for number in range(count if with_tensors else 0)]
    except Exception as error:  # one flipped byte makes zipfile and zlib raise almost anything
        raise IntegrityError(
            f"{file} is not a checkpoint, or is damaged: {error}.",
            "The run can start from the beginning, and ends in the same weights.",
        ) from error
    return state, tensors
