"""The file in which a run keeps where it is: a zip of one JSON text and the bytes of its tensors.

Nothing in it can run code, and a reader that only asks how far a run came needs no NumPy. The zip
holds a checksum of each part, so that a damaged file is told from a whole one.
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
        stream: can be sought in.
        state: JSON, infinities included; has `epoch`, the epochs that are done, and `step`, the
            batches that are done of the next one.
        tensors: the bytes of each, in the order in which `state` speaks of them.
    """
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        head = {"schema": SCHEMA, "tensors": len(tensors)}
        archive.writestr(_STATE, json.dumps({**state, **head}))
        for number, tensor in enumerate(tensors):
            archive.writestr(str(number), bytes(tensor))


def read_state(file: Path) -> dict[str, Any]:
    """What `write_checkpoint` was given as `state`.

    Raises:
        IntegrityError: the file is no checkpoint, or not as it was written.
    """
    return _read(file, with_tensors=False)[0]


def read_checkpoint(file: Path) -> tuple[dict[str, Any], list[bytes]]:
    """State and tensors, each part held against its checksum.

    Raises:
        IntegrityError: the file is no checkpoint, or not as it was written.
    """
    return _read(file, with_tensors=True)


def _read(file: Path, with_tensors: bool) -> tuple[dict[str, Any], list[bytes]]:
    try:
        with zipfile.ZipFile(file) as archive:
            state = json.loads(archive.read(_STATE))
            if state["schema"] != SCHEMA:
                raise ValueError(f"schema {state['schema']}, not {SCHEMA}")
            # places of the run, whatever else a later reader asks of them
            state["epoch"], state["step"] = int(state["epoch"]), int(state["step"])
            # by the state, which has a checksum, as the zip's own list of its parts has not
            count = int(state.pop("tensors"))
            tensors = [archive.read(str(number)) for number in range(count if with_tensors else 0)]
    except Exception as error:  # what zipfile and zlib raise at one flipped byte is no short list
        raise IntegrityError(
            f"{file} is not a checkpoint as it was written: {error}.",
            "The run can begin anew, and ends in the same weights.",
        ) from error
    return state, tensors
