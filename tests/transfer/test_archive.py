"""`mlreg pack` and `unpack`: versions in a file that may be damaged, cut off or hostile."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path

import pytest
from store_helpers import blob
from transfer_helpers import publish

from registry_core.errors import IntegrityError, MlregError, UsageError
from registry_core.registry import Registry
from registry_core.settings import Settings
from registry_core.store.audit import audit
from registry_core.transfer.archive import ArchiveSource


def accepts(file, custom) -> None:
    assert file.is_file()


@pytest.fixture
def mine(tmp_path):
    registry = Registry(tmp_path / "mine", Settings())
    for number in range(3):
        publish(registry.store, content=b"mine %d" % number)
    return registry


@pytest.fixture
def far(tmp_path):
    return Registry(tmp_path / "far", Settings())


@pytest.fixture
def packed(mine, tmp_path):
    file = tmp_path / "versions.mlreg"
    mine.pack([], file, everything=True)
    return file


def states(found):
    return [(each.source, each.state, each.version and each.version.ref) for each in found.versions]


def test_an_archive_carries_versions_to_another_registry(mine, far, packed):
    """With equal digests; unpacking it again finds them there."""
    found = far.unpack(packed, examine=accepts)
    assert states(found) == [(f"dummy@{n}", "copied", f"dummy@{n}") for n in (1, 2, 3)]
    assert [each.digest for each in far.versions("dummy")] == [
        each.digest for each in mine.versions("dummy")
    ]
    assert far.version("dummy@2").origin.registry == mine.store.registry_id()
    assert {each.state for each in far.unpack(packed, examine=accepts).versions} == {"there"}
    assert audit(far.store).problems == []


def test_it_is_a_tar_file_in_which_each_object_is_once(packed):
    with tarfile.open(packed, "r:") as opened:
        names = opened.getnames()
        contents = json.load(opened.extractfile("versions.json"))
        assert opened.extractfile("mlreg-archive.txt").read().startswith(b"This file has")
    assert len(names) == len(set(names))
    assert len(names) == 2 + 3 * 3 + 1, "three manifests, ledgers and models, and one picture"
    assert [each["version"] for each in contents["versions"]] == [1, 2, 3]


@pytest.mark.gate
def test_equal_versions_give_an_equal_file(mine, packed, tmp_path):
    second = tmp_path / "second.mlreg"
    mine.pack([], second, everything=True)
    assert second.read_bytes() == packed.read_bytes()


def test_versions_of_an_archive_are_pulled_by_number_or_digest(mine, far, packed):
    digest = mine.version("dummy@3").digest
    found = far.pull(["dummy@2", f"dummy@sha256:{digest[:12]}"], packed, examine=accepts)
    assert states(found) == [("dummy@2", "copied", "dummy@1"), ("dummy@3", "copied", "dummy@2")]
    assert states(far.pull(["dummy@latest"], packed, examine=accepts))[0][1] == "there"
    with pytest.raises(UsageError, match="dummy@1, dummy@2, dummy@3"):
        far.pull(["dummy@production"], packed, examine=accepts)


def test_an_archive_has_its_content_before_it_has_its_name(mine, tmp_path, calls):
    """And its name once the command has ended, also after a power cut."""
    file = tmp_path / "versions.mlreg"
    mine.pack([], file, everything=True)
    named = calls.index(("link", file))
    (content,) = {path for call, path in calls[:named] if call == "fsync"}
    assert content.is_relative_to(tmp_path)
    assert calls[-1] == ("fsync", tmp_path)


@pytest.mark.gate
def test_a_copy_travels_on_through_an_archive(mine, far, packed, tmp_path):
    """It still says where it was registered first, and comes home as what it was."""
    far.unpack(packed, name="renamed", examine=accepts)
    far.pack(["renamed@2"], tmp_path / "back.mlreg")
    third = Registry(tmp_path / "third", Settings())
    third.unpack(tmp_path / "back.mlreg", examine=accepts)
    assert third.version("renamed@1").origin.registry == mine.store.registry_id()
    back = mine.unpack(tmp_path / "back.mlreg", name="dummy", examine=accepts)
    assert states(back) == [("renamed@2", "there", "dummy@2")]


def test_a_damaged_version_is_not_packed(mine, tmp_path):
    """The archive appears whole or not at all, and no draft stays."""
    blob(mine.store, mine.version("dummy@2").files[0].sha256).unlink()
    with pytest.raises(IntegrityError, match=r"model\.keras of dummy@2"):
        mine.pack([], tmp_path / "versions.mlreg", everything=True)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.gate
def test_a_file_is_replaced_only_if_that_is_asked_for(mine, packed):
    with pytest.raises(UsageError, match="already exists"):
        mine.pack(["dummy@1"], packed)
    mine.pack(["dummy@1"], packed, overwrite=True)
    with ArchiveSource(packed) as archive:
        assert [wanted.ref for wanted in archive.every()] == ["dummy@1"]


@pytest.mark.gate
def test_a_dry_run_writes_nothing(mine, tmp_path, far, packed):
    found = mine.pack([], tmp_path / "other.mlreg", everything=True, dry_run=True)
    assert [each.size for each in found.versions] == [21, 21, 21]
    assert states(far.unpack(packed, dry_run=True))[0] == ("dummy@1", "copied", None)
    assert not (tmp_path / "other.mlreg").exists()
    assert not far.folder.exists()


@pytest.mark.gate
def test_an_archive_that_is_cut_off_is_refused_wherever_that_is(far, packed, tmp_path):
    content = packed.read_bytes()
    part = tmp_path / "part.mlreg"
    for size in [0, 1, 511, 512, 700, *range(1024, len(content), 1024), len(content) - 1]:
        part.write_bytes(content[:size])
        with pytest.raises(IntegrityError, match="not an archive that can be used"):
            far.unpack(part, examine=accepts)
    part.write_bytes(content + b"more")
    with pytest.raises(IntegrityError):
        far.unpack(part, examine=accepts)
    assert not far.folder.exists()


@pytest.mark.gate
def test_a_changed_byte_is_noticed_wherever_it_is(far, packed, tmp_path):
    """What is not affected is copied whole; the rest is refused, with status 6."""
    content = packed.read_bytes()
    changed = tmp_path / "changed.mlreg"
    with tarfile.open(packed, "r:") as opened:
        members = [(each.name, each.offset_data, each.size) for each in opened]
    for name, offset, size in members:
        if name.startswith("objects/"):
            place = offset + size // 2
            changed.write_bytes(
                content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
            )
            found = far.unpack(changed, name=f"from-{name[8:20]}", examine=accepts)
            assert isinstance(found.error, IntegrityError)
    assert_undamaged(far)


def assert_undamaged(registry) -> None:
    """Nothing is damaged, and nothing stays that no version needs."""
    found = audit(registry.store)
    assert (found.problems, found.orphans) == ([], 0)


# --- hostile archives ---------------------------------------------------------------------------


def rewritten(file: Path, change) -> Path:
    """The archive with other members: `change` takes and returns a list of (header, content)."""
    with tarfile.open(file, "r:") as opened:
        members = [(each, opened.extractfile(each).read()) for each in opened]
    with file.open("wb") as target:
        for info, content in change(members):
            target.write(info.tobuf(tarfile.GNU_FORMAT))
            target.write(content + bytes(-len(content) % 512))
        target.write(bytes(1024))
    return file


def member(name: str, content: bytes = b"", **changes):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in changes.items():
        setattr(info, key, value)
    return info, content


def with_contents(change):
    def changed(members):
        *rest, (_, content) = members
        value = json.loads(content)
        change(value)
        return [*rest, member("versions.json", json.dumps(value).encode())]

    return changed


ESCAPES = "objects/" + "a" * 64
HOSTILE = {
    "a path that leads out": lambda m: [m[0], member("../../evil", b"x"), *m[1:]],
    "an absolute path": lambda m: [m[0], member("/etc/passwd", b"x"), *m[1:]],
    "a symbolic link": lambda m: [
        m[0], member(ESCAPES, type=tarfile.SYMTYPE, linkname="/etc/passwd"), *m[1:]
    ],
    "a hard link": lambda m: [
        m[0], member(ESCAPES, type=tarfile.LNKTYPE, linkname="mlreg-archive.txt"), *m[1:]
    ],
    "a device": lambda m: [m[0], member(ESCAPES, type=tarfile.CHRTYPE), *m[1:]],
    "a folder": lambda m: [m[0], member(ESCAPES, type=tarfile.DIRTYPE), *m[1:]],
    "a sparse file": lambda m: [m[0], member(ESCAPES, type=tarfile.GNUTYPE_SPARSE), *m[1:]],
    "a long name": lambda m: [m[0], member("n", b"x", type=tarfile.GNUTYPE_LONGNAME), *m[1:]],
    "pax headers": lambda m: [m[0], member("x", b"9 size=1\n", type=tarfile.XHDTYPE), *m[1:]],
    "a member twice": lambda m: [m[0], m[1], *m[1:]],
    "no note": lambda m: m[1:],
    "no contents": lambda m: m[:-1],
    "contents that are not last": lambda m: [m[0], m[-1], *m[1:-1]],
    "contents that are not JSON": lambda m: [*m[:-1], member("versions.json", b"{")],
    "contents that are deep": lambda m: [*m[:-1], member("versions.json", b"[" * 100_000)],
    "contents that are a list": lambda m: [*m[:-1], member("versions.json", b"[]")],
    "a newer schema": with_contents(lambda v: v.update(schema=2)),
    "no registry": with_contents(lambda v: v.update(registry="")),
    "a version twice": with_contents(lambda v: v["versions"].append(v["versions"][0])),
    "a model that is no name": with_contents(lambda v: v["versions"][0].update(model="../x")),
    "a number that is none": with_contents(lambda v: v["versions"][0].update(version=True)),
    "a digest that is a path": with_contents(lambda v: v["versions"][0].update(digest="../x")),
    "evidence without end": with_contents(
        lambda v: v["versions"][0].update(blobs=["a" * 64] * 10_001)
    ),
}  # fmt: skip


@pytest.mark.gate(keep=4)
@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_archive_is_refused_before_anything_is_written(change, far, packed):
    rewritten(packed, lambda members: members)
    assert len([*ArchiveSource(packed).every()]) == 3
    rewritten(packed, change)
    with pytest.raises(IntegrityError, match="not an archive that can be used"):
        far.unpack(packed, examine=accepts)
    assert not far.folder.exists()


LYING = {
    "another version's number": with_contents(lambda v: v["versions"][0].update(version=9)),
    "another registry": with_contents(lambda v: v.update(registry="0" * 64)),
    "another version's rows": with_contents(
        lambda v: v["versions"][0].update(rows=v["versions"][1]["rows"])
    ),
    "rows that are no rows": with_contents(
        lambda v: v["versions"][0].update(rows=v["versions"][0]["digest"])
    ),
    "a manifest that is none": with_contents(
        lambda v: v["versions"][0].update(digest=v["versions"][0]["rows"])
    ),
    "evidence of nothing": with_contents(
        lambda v: v["versions"][0].update(blobs=[v["versions"][1]["digest"]])
    ),
    "an object that is missing": lambda m: [m[0], *m[2:]],
}


@pytest.mark.gate(keep=2)
@pytest.mark.parametrize("change", LYING.values(), ids=LYING)
def test_a_version_that_an_archive_lies_about_is_refused(change, far, packed):
    """Each version is judged by itself."""
    found = far.unpack(rewritten(packed, change), examine=accepts)
    assert found.versions[0].state == "refused"
    assert isinstance(found.error, IntegrityError)
    assert_undamaged(far)
    assert all(each.version.ref != "dummy@9" for each in found.versions if each.version)


def test_sizes_are_not_believed(far, packed):
    """A header that claims 8 EiB; contents of gigabytes that are not there."""
    content = bytearray(packed.read_bytes())
    info = tarfile.TarInfo(ESCAPES)
    info.size = 2**62
    for header in (info.tobuf(tarfile.GNU_FORMAT), b"\xff" * 512, bytes(512)):
        packed.write_bytes(content[:1024] + header + content[1024:])
        with pytest.raises(IntegrityError):
            far.unpack(packed, examine=accepts)


def test_what_is_no_file_is_refused(far, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zip.mlreg").write_bytes(b"PK\x03\x04" + bytes(2000))
    for name, kind in (("pipe", UsageError), ("mine", UsageError), ("zip.mlreg", IntegrityError)):
        with pytest.raises(kind):
            far.unpack(tmp_path / name, examine=accepts)
    with pytest.raises(MlregError):
        far.unpack(tmp_path, examine=accepts)


def test_a_file_that_changes_while_it_is_read_is_noticed(far, packed):
    """Its digests are compared as it is read, not before."""
    with ArchiveSource(packed) as archive:
        wanted = next(archive.every())
        content = packed.read_bytes()
        with packed.open("r+b") as stream:
            stream.seek(content.index(b"mine 0"))
            stream.write(b"MINE")
        parcel = archive.parcel(wanted)
        digest = next(
            file["sha256"]
            for file in json.load(io.BytesIO(parcel.manifest))["files"]
            if file["path"] == "model.keras"
        )
        with pytest.raises(IntegrityError):
            parcel.read(digest, "model.keras", 100).read()
