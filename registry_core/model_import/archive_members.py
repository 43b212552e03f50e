"""The members of a `.keras` archive: only those that Keras writes, uncompressed and bounded."""

from __future__ import annotations

import io
import json
import re
import stat
import zipfile
from typing import Any, BinaryIO

from registry_core.errors import RefusedError
from registry_core.model_import.refusals import WEIGHTS, malformed, pickled, shorten

# every model has these two and the weights; the largest size of each text file, in bytes
METADATA, CONFIG = "metadata.json", "config.json"
LIMIT_BYTES = {METADATA: 1 << 16, CONFIG: 16 << 20}
# what lookup layers store beside their weights
_VOCABULARY = re.compile(r"assets(/\w+)+/vocabulary\.txt", re.ASCII)
_LIMIT_MEMBERS = 1_000


def check_members(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """Check the archive's members; returns them by name.

    Keras writes them uncompressed, so none of them can be larger than the archive.

    Args:
        archive: open for reading.
        size: of the archive, in bytes.

    Raises:
        RefusedError: a member is a pickle or an unknown asset.
        IntegrityError: Keras would not have written a member like this.
    """
    infos = archive.infolist()
    if len(infos) > _LIMIT_MEMBERS:
        raise malformed(f"has {len(infos):,} members, and a model has three")
    members = {info.filename: info for info in infos}
    if len(members) != len(infos):
        raise malformed("has two members of one name")
    for name, info in members.items():
        if name.endswith((".pkl", ".pickle", ".pt", ".pth")):
            raise pickled()
        known = name in (METADATA, CONFIG, WEIGHTS) or _VOCABULARY.fullmatch(name)
        if not known and name.startswith("assets/") and ".." not in name.split("/"):
            raise RefusedError(
                f"The file has an asset that no Keras layer reads: {shorten(name)}.",
                "Besides weights, only the vocabularies of lookup layers are imported.",
            )
        if not known:
            raise malformed(f"has a member that is not part of a model: {shorten(name)}")
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            raise malformed(f"has {name} as a link, or as something else than a file")
        if info.flag_bits & 0x1:
            raise malformed(f"has {name} encrypted")
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
            raise malformed(
                f"has {name} compressed, {info.compress_size:,} bytes for {info.file_size:,}, "
                "where Keras compresses nothing"
            )
        if info.file_size > LIMIT_BYTES.get(name, size):
            raise malformed(f"has {name} with {info.file_size:,} bytes")
    if sum(info.file_size for info in infos) > size:
        raise malformed("has members that are together larger than it is")
    for name in (METADATA, CONFIG, WEIGHTS):
        if name not in members:
            raise malformed(f"has no {name}")
    return members


def read_json(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Any:
    """Parse a member whose size was checked; raises IntegrityError if it is not JSON."""
    with archive.open(member) as stream:
        content = stream.read()
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise malformed(
            f"has a {member.filename} that is not JSON: {shorten(str(error))}"
        ) from error


class ArchivePart(io.RawIOBase):
    """A read-only file over a range of bytes of another file."""

    def __init__(self, stream: BinaryIO, start: int, size: int) -> None:
        super().__init__()
        self._stream, self._start, self._size, self._position = stream, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + (0, self._position, self._size)[whence]
        return self._position

    def readinto(self, buffer: Any) -> int:
        self._stream.seek(self._start + self._position)
        rest = max(0, self._size - self._position)
        content = self._stream.read(min(len(buffer), rest))
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)
