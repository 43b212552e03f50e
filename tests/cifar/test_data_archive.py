"""Reading batches: the right ones, and pickles that want to run code."""

from __future__ import annotations

import builtins
import io
import os
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cifar_data_helpers import (
    BATCH,
    Canary,
    batches,
    pack,
    packed_batches,
    small_archive,
    small_arrays,
    small_expected,
    unpack,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from cifar_plugin.data.archive import read_archive, read_batch, read_folder
from cifar_plugin.data.errors import SourceError

pytestmark = pytest.mark.drawn


def assert_same(found: dict[str, Any]) -> None:
    for name, array in small_arrays().items():
        np.testing.assert_array_equal(found[name], array)


def test_reads_the_archive(tmp_path: Path) -> None:
    """Images and labels are right, and nothing is extracted."""
    archive = tmp_path / "cifar-10-python.tar.gz"
    archive.write_bytes(small_archive())
    assert_same(read_archive(archive, small_expected()))
    assert list(tmp_path.iterdir()) == [archive]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_reads_the_folder_in_any_pickle_protocol(tmp_path: Path, protocol: int) -> None:
    """Protocol 2 is the official one; a repacked copy may use another."""
    assert_same(read_folder(unpack(tmp_path / "batches", protocol), small_expected()))


def test_reads_what_python_2_wrote() -> None:
    """The official batches hold texts of Python 2, and arrays of an old NumPy."""
    rows = small_arrays()["x_test"].transpose(0, 3, 1, 2).reshape(BATCH, 3072)
    raw = rows.tobytes()
    python_2 = (
        b"\x80\x02}(U\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b"
        b"\x87R(K\x01K" + bytes([BATCH]) + b"M\x00\x0c\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R"
        b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T"
        + len(raw).to_bytes(4, "little")
        + raw
        + b"tbU\x06labels]("
        + b"".join(bytes([ord("K"), label]) for label in small_arrays()["y_test"])
        + b"eu."
    )
    images, labels = read_batch(python_2, "test_batch")
    np.testing.assert_array_equal(images, small_arrays()["x_test"])
    np.testing.assert_array_equal(labels, small_arrays()["y_test"])


def test_reads_an_array_in_fortran_order() -> None:
    """The order in memory is part of a pickled array."""
    rows = np.asfortranarray(np.arange(2 * 3072).reshape(2, 3072).astype(np.uint8))
    images, _ = read_batch(pickle.dumps({"data": rows, "labels": [1, 2]}, 2), "batch")
    np.testing.assert_array_equal(images[1], rows[1].reshape(3, 32, 32).transpose(1, 2, 0))


def test_a_pickle_that_runs_code_is_refused_in_the_folder(tmp_path: Path) -> None:
    """The refused global is named, and its code does not run."""
    canary = tmp_path / "canary"
    folder = unpack(tmp_path / "batches")
    (folder / "data_batch_3").write_bytes(pickle.dumps(Canary(canary)))
    with pytest.raises(SourceError, match=r"data_batch_3 .* needs pathlib.* refused"):
        read_folder(folder, small_expected())
    assert not canary.exists()


def test_a_pickle_that_runs_code_is_refused_in_the_archive(tmp_path: Path) -> None:
    """Even if the archive has the right digest."""
    canary = tmp_path / "canary"
    hostile = packed_batches({**batches(), "data_batch_1": pickle.dumps(Canary(canary))})
    archive = tmp_path / "cifar-10-python.tar.gz"
    archive.write_bytes(hostile)
    with pytest.raises(SourceError, match="refused"):
        read_archive(archive, small_expected(hostile))
    assert not canary.exists()


def test_an_archive_with_another_digest_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The digest comes first: neither tar nor pickle sees such a file."""
    archive = tmp_path / "cifar-10-python.tar.gz"
    archive.write_bytes(packed_batches({**batches(), "data_batch_1": b"?"}))
    monkeypatch.setattr(tarfile, "open", lambda *_, **__: pytest.fail("opened"))
    with pytest.raises(SourceError, match=f"expected {small_expected().archive_sha256}"):
        read_archive(archive, small_expected())


@pytest.mark.parametrize(
    "forbidden",
    [
        os.system,
        builtins.eval,
        builtins.getattr,
        np.load,
        np.frombuffer,
        np.random.RandomState(0),
        np.array([object()], object),
        np.arange(3.0),
        np.zeros(2, [("name", "u1")]),
    ],
    ids=lambda value: getattr(value, "__name__", repr(value)[:20]),
)
def test_only_arrays_of_bytes_are_read(forbidden: object) -> None:
    """Other globals, NumPy's among them, and other arrays are refused."""
    raw = pickle.dumps({"data": forbidden, "labels": [1]}, 2)
    with pytest.raises(SourceError, match="not a batch of CIFAR-10"):
        read_batch(raw, "data_batch_1")


def test_a_crafted_array_state_reaches_no_numpy_code() -> None:
    """An array of bytes whose type claims to hold objects stays an array of bytes.

    NumPy itself would take the raw bytes for pointers.
    """
    state = (3, "|", None, ("f",), {"f": ("O", 0)}, 8, 1, 0)
    crafted = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x01\x85cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R"
        + pickle.dumps(state, 2)[2:-1]
        + b"b\x89U\x08AAAAAAAAtb."
    )
    with pytest.raises(SourceError, match="not a batch"):
        read_batch(crafted, "data_batch_1")


def test_a_pickle_cannot_allocate_much_memory() -> None:
    """A dozen bytes that would make the unpickler allocate 2**32 objects."""
    with pytest.raises(SourceError, match="index 4,294,967,295"):
        read_batch(b"\x80\x02}r\xff\xff\xff\xff.", "data_batch_1")


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_damaged_pickle_is_a_source_error(data: st.DataObject) -> None:
    """For any bytes the result is arrays or a SourceError."""
    raw = bytearray(pickle.dumps({b"labels": [1], b"data": np.zeros((1, 3072), np.uint8)}, 2))
    for _ in range(data.draw(st.integers(1, 4))):
        # less the pixels, where a change makes no difference
        place = data.draw(st.integers(0, 150) | st.integers(len(raw) - 20, len(raw) - 1))
        raw[place] = data.draw(st.integers(0, 255))
    try:
        images, labels = read_batch(bytes(raw), "data_batch_1")
    except SourceError:
        return
    assert len(images) == len(labels)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("test_batch", None, "lacks cifar-10-batches-py/test_batch"),
        ("data_batch_2", pickle.dumps({}), "data_batch_2 is not a batch"),
        ("data_batch_2", bytes(2_000_000), "claims 2,000,000 bytes"),
        ("readme", bytes(2_000_000), "claims 2,000,000 bytes"),
        (
            "data_batch_2",
            pickle.dumps({"data": np.zeros((1, 3072), np.uint8), "labels": [1]}),
            "data_batch_2 holds 1 images, expected 20",
        ),
        (
            "data_batch_2",
            pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [1]}),
            "2 images, labels of shape",
        ),
    ],
)
def test_a_wrong_archive_has_a_reason(
    tmp_path: Path, name: str, content: bytes | None, reason: str
) -> None:
    """A missing, absurd or foreign member is named."""
    files = {name: content, **batches()}
    if content is None:
        del files[name]
    else:
        files[name] = content
    packed = packed_batches({n: c for n, c in files.items() if c is not None})
    archive = tmp_path / "archive.tar.gz"
    archive.write_bytes(packed)
    with pytest.raises(SourceError, match=reason):
        read_archive(archive, small_expected(packed))


def test_links_in_an_archive_are_not_followed(tmp_path: Path) -> None:
    """A link with a batch's name is not a batch."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        link = tarfile.TarInfo("cifar-10-batches-py/data_batch_1")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    archive = tmp_path / "archive.tar.gz"
    archive.write_bytes(packed.getvalue())
    with pytest.raises(SourceError, match="lacks"):
        read_archive(archive, small_expected(packed.getvalue()))


@pytest.mark.parametrize("content", [b"", b"not gzip", small_archive()[:5000], pack({})])
def test_a_damaged_archive_is_a_source_error(tmp_path: Path, content: bytes) -> None:
    """Empty, of another format, cut off, or without a member."""
    archive = tmp_path / "archive.tar.gz"
    archive.write_bytes(content)
    with pytest.raises(SourceError, match=r"cannot be read|lacks"):
        read_archive(archive, small_expected(content))


def test_a_batch_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    """A sparse file of a terabyte is refused by its size."""
    folder = unpack(tmp_path / "batches")
    with (folder / "data_batch_1").open("wb") as file:
        file.truncate(10**12)
    with pytest.raises(SourceError, match="too large"):
        read_folder(folder, small_expected())
