"""What a `.keras` file from elsewhere holds, checked before Keras opens it.

Keras's safe mode refuses the attacks that its authors know; this refuses everything that Keras
itself would not have written for its own layers, losses and optimizers. Nothing is unpacked,
imported or built: the file is read as zip, JSON and HDF5, and no name in it is followed. Knows the
file format, but neither Keras nor what the model is for.
"""

from __future__ import annotations

import re
import struct
import zipfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from registry_core.errors import MlregError, RefusedError
from registry_core.model_import.archive_members import (
    CONFIG,
    LIMIT_BYTES,
    METADATA,
    ArchivePart,
    check_members,
    read_json,
)
from registry_core.model_import.config_check import check_config
from registry_core.model_import.refusals import WEIGHTS, malformed, pickled, shorten
from registry_core.model_import.weights_check import HDF5_SIGNATURE, check_weights

_CHUNK = 1 << 20

_ZIP_SIGNATURE = b"PK\x03\x04"


@dataclass(frozen=True)
class ModelFile:
    """A `.keras` file that was checked.

    Args:
        keras_version: the version of Keras that wrote it, as the file states.
        numbers: number of values in its weights and its optimizer's state.
    """

    keras_version: str
    numbers: int


def inspect(file: Path, custom: Collection[str] = ()) -> ModelFile:
    """Check that a file is safe for Keras to open. It must not change before it is loaded.

    Args:
        file: a regular file of any name.
        custom: registered names of classes and functions that it may have beside Keras's own.

    Raises:
        RefusedError: the file contains code, or refers to something outside itself.
        IntegrityError: it is not a `.keras` file, it is damaged, or it unpacks to more than its
            own size.
    """
    with file.open("rb") as stream:
        head = stream.read(len(HDF5_SIGNATURE))
        if head == HDF5_SIGNATURE:
            raise RefusedError(
                "The file is HDF5, Keras's legacy format, which can contain code and cannot be "
                "loaded safely.",
                "If you trust it, convert it: keras.models.load_model('m.h5').save('m.keras').",
            )
        if head[:1] == b"\x80" and head[1:2] in (b"\2", b"\3", b"\4", b"\5"):
            raise pickled()
        if not head.startswith(_ZIP_SIGNATURE):
            raise malformed("is not a .keras file: it is not a zip archive")
        try:
            with zipfile.ZipFile(stream) as archive:
                return _inspect(archive, stream, file.stat().st_size, custom)
        except MlregError:
            raise
        except Exception as error:
            # zipfile and h5py raise nearly anything for malformed bytes
            raise malformed(
                f"cannot be read: {shorten(str(error) or type(error).__name__)}"
            ) from error


def _inspect(
    archive: zipfile.ZipFile, stream: BinaryIO, size: int, custom: Collection[str]
) -> ModelFile:
    _check_generation(archive)
    members = check_members(archive, size)
    metadata = read_json(archive, members[METADATA])
    version = metadata.get("keras_version") if isinstance(metadata, dict) else None
    if not isinstance(version, str) or not re.fullmatch(r"\d+\.\d+[\w.+-]{0,40}", version):
        raise malformed(f"does not say which Keras wrote it: keras_version is {shorten(version)}")
    config = read_json(archive, members[CONFIG])
    if not isinstance(config, dict) or "class_name" not in config:
        raise malformed(f"has a {CONFIG} that describes no model")
    check_config(config, custom)
    for member in members.values():
        if member.filename not in LIMIT_BYTES:
            with archive.open(member) as content:  # raises at its end where the CRC is wrong
                while content.read(_CHUNK):
                    pass
    weights = members[WEIGHTS]
    stream.seek(weights.header_offset)
    name_bytes, extra_bytes = struct.unpack("<26x2H", stream.read(30))
    start = weights.header_offset + 30 + name_bytes + extra_bytes
    return ModelFile(version, check_weights(ArchivePart(stream, start, weights.file_size)))


def _check_generation(archive: zipfile.ZipFile) -> None:
    """Refuse files of Keras 2 first: they differ from Keras 3 files in many ways."""
    info = next((each for each in archive.infolist() if each.filename == METADATA), None)
    if info is None or max(info.file_size, info.compress_size) > LIMIT_BYTES[METADATA]:
        return  # reported later as what it is
    metadata = read_json(archive, info)
    version = metadata.get("keras_version") if isinstance(metadata, dict) else None
    if isinstance(version, str) and re.fullmatch(r"[012]\.[\w.+-]{1,40}", version):
        raise RefusedError(
            f"The file was written by Keras {version[0]} ({version}): convert it.",
            "If you trust it: tf_keras.models.load_model('old.keras').save('old.h5'), then "
            "keras.models.load_model('old.h5', compile=False).save('new.keras').",
            "pip install tf_keras",
        )
