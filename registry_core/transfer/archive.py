"""Archives: a file that carries versions, for a machine that no network reaches.

A tar file without compression, which `tar tf` lists: a note for people, `objects/DIGEST` for each
object once, and last `versions.json`, which says what the versions are. Equal versions of equal
ledgers give an equal file.

A reader trusts nothing: no member but these, no links, nothing is unpacked, what is not at the
place of its digest is not read, and the content of each object is compared with its digest.
"""

from __future__ import annotations

import os
import re
import stat
import tarfile
from collections.abc import Iterator, Mapping
from functools import cached_property, partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from registry_core.dataclass import dataclass
from registry_core.errors import IntegrityError, StorageError, UsageError
from registry_core.refs import NAME, Ref, shown
from registry_core.store import manifest as manifests
from registry_core.store.arrivals import Parcel, carried_rows
from registry_core.store.checked import CheckedStream
from registry_core.transfer.sources import Wanted

if TYPE_CHECKING:
    from collections.abc import Callable

    from registry_core.store.arrivals import Arrival

ENDING = ".mlreg"

_NOTE, _CONTENTS, _OBJECTS = "mlreg-archive.txt", "versions.json", "objects/"
_TEXT = b"""This file has versions of trained models, as `mlreg pack` wrote them.
mlreg unpack FILE checks them and adds them to a registry.
"""
_SCHEMA = 1
_BLOCK = tarfile.BLOCKSIZE
_CHUNK = 1 << 20
_MEMBER = re.compile(rf"{re.escape(_NOTE)}|{re.escape(_CONTENTS)}|{_OBJECTS}[0-9a-f]{{64}}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_LIMIT_MEMBERS = 2_000_000
_LIMIT_CONTENTS_BYTES = 256 << 20
_LIMIT_NOTE_BYTES = 4096
_LIMIT_BLOBS = 10_000


class ArchiveWriter:
    """Writes an archive into an open file; nothing is one before `end`.

    Args:
        stream: the file, at its beginning.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._written: set[str] = set()
        self._registry = ""
        self._versions: list[dict[str, Any]] = []
        self._add(_NOTE, len(_TEXT), BytesIO(_TEXT))

    def add(self, arrival: Arrival) -> None:
        """Add a version with all of its files.

        Raises:
            IntegrityError: a file of it is damaged.
        """
        parcel, digest = arrival.parcel, arrival.recorded.digest
        rows, *blobs = arrival.evidence
        self._registry = parcel.registry
        self._add_object(digest, len(parcel.manifest), lambda: BytesIO(parcel.manifest))
        for record in (*arrival.evidence, *arrival.recorded.files):
            self._add_object(record.sha256, record.size, partial(arrival.open, record))
        self._versions.append(
            {
                "model": parcel.model,
                "version": parcel.number,
                "digest": digest,
                "rows": rows.sha256,
                "blobs": [blob.sha256 for blob in blobs],
            }
        )

    def end(self) -> None:
        """Write what the archive has, and make it durable."""
        contents = {"schema": _SCHEMA, "registry": self._registry, "versions": self._versions}
        content = manifests.canonical(contents)
        self._add(_CONTENTS, len(content), BytesIO(content))
        self._stream.write(bytes(2 * _BLOCK))
        self._stream.flush()
        os.fsync(self._stream.fileno())

    def _add_object(self, digest: str, size: int, read: Callable[[], BinaryIO]) -> None:
        if digest not in self._written:
            with read() as stream:
                self._add(f"{_OBJECTS}{digest}", size, stream)
            self._written.add(digest)

    def _add(self, name: str, size: int, stream: BinaryIO) -> None:
        info = tarfile.TarInfo(name)
        info.size, info.mode = size, 0o444
        self._stream.write(info.tobuf(tarfile.GNU_FORMAT))
        left = size
        while piece := stream.read(min(_CHUNK, left + 1)):
            left -= len(piece)
            if left < 0:
                break
            self._stream.write(piece)
        if left:
            raise IntegrityError(
                f"{name} has another size than {size:,} bytes.",
                "Nothing was written. Check the registry.",
                "mlreg verify",
            )
        self._stream.write(bytes(-size % _BLOCK))


@dataclass(frozen=True)
class _Member:
    """Where an archive has the content of a member."""

    offset: int
    size: int


@dataclass(frozen=True)
class _Packed:
    """A version of an archive, by its `versions.json`."""

    wanted: Wanted
    rows: str
    blobs: list[str]


class ArchiveSource:
    """An archive that versions are copied from; a context that closes it.

    Args:
        file: the archive.

    Raises:
        UsageError: there is no such file.
        IntegrityError: it is not an archive, or it is damaged.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        try:
            # NONBLOCK, so that opening a pipe does not block
            descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise UsageError(
                f"{shown(str(file))[1:-1]} cannot be read: {reason}.",
                "Name an archive that `mlreg pack` wrote.",
                "mlreg unpack --help",
            ) from error
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            raise UsageError(
                f"{file} is not a regular file.",
                "Name an archive that `mlreg pack` wrote.",
                "mlreg unpack --help",
            )
        self._stream = os.fdopen(descriptor, "rb")
        try:
            self._members = self._scan(status.st_size)
        except BaseException:
            self._stream.close()
            raise

    def __enter__(self) -> ArchiveSource:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    @property
    def place(self) -> str:
        return str(self._file)

    def model_names(self) -> list[str]:
        return sorted({packed.wanted.model for packed in self._contents.values()})

    def find(self, ref: Ref) -> Wanted:
        """As `Source.find`; an archive has no aliases."""
        of_model = [
            packed.wanted for packed in self._contents.values() if packed.wanted.model == ref.model
        ]
        if ref.kind == "latest" and of_model:
            return max(of_model, key=lambda wanted: wanted.number)
        for wanted in of_model:
            if ref.number == wanted.number:
                return wanted
            if ref.digest_prefix and wanted.digest.startswith(ref.digest_prefix):
                return wanted
        known = ", ".join(packed.wanted.ref for packed in [*self._contents.values()][:10])
        raise UsageError(f"{self._file} has no version {ref}.", f"It has {known or 'no versions'}.")

    def every(self, since: str = "") -> Iterator[Wanted]:
        for packed in self._contents.values():
            if not since or self._registered_at(packed) >= since:
                yield packed.wanted

    def parcel(self, wanted: Wanted) -> Parcel:
        packed = self._contents[wanted.ref]
        return Parcel(
            self._registry,
            wanted.model,
            wanted.number,
            self._small(wanted.digest, f"The manifest of {wanted.ref}"),
            self._small(packed.rows, f"What the ledger has about {wanted.ref}"),
            {digest: self._member(digest, "evidence").size for digest in packed.blobs},
            self._open,
        )

    # --- what the archive has --------------------------------------------------------------------

    @cached_property
    def _parsed(self) -> tuple[str, dict[str, _Packed]]:
        member = self._members[_CONTENTS]
        content = self._read_at(member.offset, member.size)
        try:
            value = manifests.read_json(content)
            if value["schema"] != _SCHEMA:
                raise ValueError(
                    f"it has schema {value['schema']!r}, and this mlreg knows {_SCHEMA}"
                )
            registry, found = value["registry"], {}
            for each in value["versions"]:
                packed = _packed(each)
                found[packed.wanted.ref] = packed
            if not isinstance(registry, str) or (found and not _DIGEST.fullmatch(registry)):
                raise ValueError("it does not say which registry it is of")
            if len(found) != len(value["versions"]):
                raise ValueError("it has a version twice")
        except (ValueError, KeyError, TypeError) as error:
            raise self._damaged(f"its {_CONTENTS} cannot be used: {error}") from error
        return registry, found

    @property
    def _registry(self) -> str:
        return self._parsed[0]

    @property
    def _contents(self) -> dict[str, _Packed]:
        return self._parsed[1]

    def _registered_at(self, packed: _Packed) -> str:
        content = self._small(packed.rows, f"What the ledger has about {packed.wanted.ref}")
        try:
            return next((row.at for row in carried_rows(content)[1]), "")
        except (ValueError, KeyError, TypeError) as error:
            raise self._damaged(str(error)) from error

    # --- members ---------------------------------------------------------------------------------

    def _scan(self, size: int) -> Mapping[str, _Member]:
        """Where each member is, by the headers; contents are not read."""
        members: dict[str, _Member] = {}
        offset = 0
        while True:
            self._stream.seek(offset)
            header = self._read(_BLOCK)
            if header == bytes(_BLOCK) and members:
                break
            name, length = self._parse_header(header, offset)
            offset += _BLOCK
            if name in members:
                raise self._damaged(f"it has {name} twice")
            if not members and name != _NOTE:
                raise self._damaged("it does not begin as an archive does")
            members[name] = _Member(offset, length)
            offset += length + -length % _BLOCK
            if offset > size:
                raise self._damaged(f"it is cut off after {size:,} bytes")
            if len(members) > _LIMIT_MEMBERS:
                raise self._damaged(f"it has more than {_LIMIT_MEMBERS:,} members")
        if size != offset + 2 * _BLOCK or self._stream.read(_BLOCK) != bytes(_BLOCK):
            raise self._damaged("it does not end where its members do")
        if [*members][-1] != _CONTENTS:
            raise self._damaged(f"it does not end with {_CONTENTS}")
        if members[_CONTENTS].size > _LIMIT_CONTENTS_BYTES:
            raise self._damaged(f"its {_CONTENTS} has {members[_CONTENTS].size:,} bytes")
        return members

    def _parse_header(self, header: bytes, offset: int) -> tuple[str, int]:
        """The name and the size of a member."""
        try:
            info = tarfile.TarInfo.frombuf(header, "ascii", "strict")
        except (tarfile.HeaderError, ValueError) as error:
            where = f"cut off, or damaged at byte {offset:,}" if offset else "no archive"
            raise self._damaged(f"it is {where}") from error
        plain = info.type == tarfile.REGTYPE and not info.linkname and info.size >= 0
        if not (plain and _MEMBER.fullmatch(info.name)):
            raise self._damaged(f"it has {shown(info.name)}, which mlreg does not write")
        return info.name, info.size

    def _member(self, digest: str, what: str) -> _Member:
        member = self._members.get(f"{_OBJECTS}{digest}")
        if member is None:
            raise self._damaged(f"it lacks {what} ({digest})")
        return member

    def _small(self, digest: str, what: str) -> bytes:
        with self._open(digest, what, manifests.LIMIT_BYTES) as stream:
            return stream.read()

    def _open(self, digest: str, what: str, limit_bytes: int) -> BinaryIO:
        """An object, compared with its digest when the last byte has been read."""
        member = self._member(digest, what)
        if member.size > limit_bytes:
            raise self._damaged(f"{what} has {member.size:,} bytes, which is too much")
        part = _Part(self._read_at, member.offset, member.size)

        def damaged(found: str) -> IntegrityError:
            return self._damaged(f"{what} is damaged: {found}, not {digest}")

        stream = CheckedStream(part.read, lambda: None, digest, member.size, damaged)
        return cast(BinaryIO, stream)

    def _read_at(self, offset: int, size: int) -> bytes:
        self._stream.seek(offset)
        return self._read(size)

    def _read(self, size: int) -> bytes:
        try:
            return self._stream.read(size)
        except OSError as error:
            raise StorageError(
                f"{self._file} cannot be read: {error.strerror}.",
                "Check the disk that it is on, and copy it again.",
            ) from error

    def _damaged(self, how: str) -> IntegrityError:
        return IntegrityError(
            f"{self._file} is not an archive that can be used: {how}.",
            "Copy it again from where it was written, or pack the versions again.",
        )


class _Part:
    """A range of bytes of a file, read from its beginning."""

    def __init__(self, read_at: Callable[[int, int], bytes], offset: int, size: int) -> None:
        self._read_at, self._offset, self._left = read_at, offset, size

    def read(self, size: int) -> bytes:
        piece = self._read_at(self._offset, min(size, self._left))
        self._offset += len(piece)
        self._left -= len(piece)
        return piece


def _packed(value: Any) -> _Packed:
    model, number, digest = value["model"], value["version"], value["digest"]
    if not (isinstance(model, str) and re.fullmatch(NAME, model)):
        raise ValueError(f"{shown(str(model))} is not a model")
    if not isinstance(number, int) or isinstance(number, bool) or not 0 < number < 2**62:
        raise ValueError(f"{shown(str(number))} is not a number of a version")
    blobs = value["blobs"]
    if not isinstance(blobs, list) or len(blobs) > _LIMIT_BLOBS:
        raise ValueError(f"the evidence of {model}@{number} is not a list, or too long")
    for each in (digest, value["rows"], *blobs):
        if not (isinstance(each, str) and _DIGEST.fullmatch(each)):
            raise ValueError(f"{shown(str(each))} is not a digest")
    return _Packed(Wanted(model, number, digest), value["rows"], blobs)
