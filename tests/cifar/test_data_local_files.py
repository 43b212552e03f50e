"""What --data-dir takes, and what it says to everything else."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from cifar_data_helpers import (
    Canary,
    Told,
    altered,
    batches,
    mirror,
    packed_batches,
    small_archive,
    small_arrays,
    small_cache,
    small_expected,
    unpack,
)

from cifar_plugin.data import CifarCache
from registry_core.errors import DataError


def archive_in(folder: Path) -> Path:
    file = folder / "cifar-10-python.tar.gz"
    file.write_bytes(small_archive())
    return file


def npz_in(folder: Path, **changed: np.ndarray) -> Path:
    file = folder / "cifar10.npz"
    np.savez(file, **{**small_arrays(), **changed})
    return file


def column_labels(folder: Path) -> Path:
    arrays = small_arrays()
    return npz_in(
        folder,
        y_train=arrays["y_train"].reshape(-1, 1).astype(np.int64),
        y_test=arrays["y_test"].reshape(-1, 1),
    )


@pytest.mark.parametrize(
    ("make", "used"),
    [
        (archive_in, "cifar-10-python.tar.gz"),
        (lambda folder: archive_in(folder).parent, "cifar-10-python.tar.gz"),
        (lambda folder: unpack(folder / "cifar-10-batches-py"), "cifar-10-batches-py"),
        (lambda folder: unpack(folder / "cifar-10-batches-py").parent, "cifar-10-batches-py"),
        (lambda folder: unpack(folder / "renamed"), "renamed"),
        (npz_in, "cifar10.npz"),
        (lambda folder: npz_in(folder).parent, "cifar10.npz"),
        (column_labels, "cifar10.npz"),
    ],
)
def test_accepts_every_form(tmp_path: Path, make: object, used: str) -> None:
    """A file or its folder; the source names the file, and the cache is filled."""
    home = tmp_path / "home of Zoë 🐶"
    home.mkdir()
    cache = small_cache(home, make(home))  # type: ignore[operator]
    arrays = cache.arrays(Told())
    assert arrays.source == f"--data-dir {home / used}"
    for name, expected in small_arrays().items():
        np.testing.assert_array_equal(getattr(arrays, name), expected)
    assert len(cache.verify()) == 4
    assert small_cache(home).fetch(Told()) == "cache"


def test_no_other_source_is_tried(tmp_path: Path) -> None:
    """A folder without a copy is an error, even with mirrors and a warm cache."""
    small_cache(tmp_path, npz_in(tmp_path)).fetch(Told())
    (tmp_path / "empty").mkdir()
    with mirror(altered) as server:
        cache = small_cache(tmp_path, tmp_path / "empty", mirrors=[server.url])
        with pytest.raises(DataError, match="has no copy") as error:
            cache.fetch(Told())
    assert error.value.exit_status == 4
    assert "cifar-10-python.tar.gz, cifar-10-batches-py/" in error.value.remedy
    assert server.ranges == []


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda folder: folder / "nowhere", "does not exist"),
        (lambda folder: npz_in(folder, x_test=np.zeros((20, 3, 32, 32), np.uint8)), "shape"),
        (lambda folder: npz_in(folder, x_test=np.zeros((20, 32, 32, 3), np.float16)), "float16"),
        (lambda folder: npz_in(folder, y_test=np.full(20, -1)), "y_test is int64"),
        (lambda folder: npz_in(folder, y_test=np.zeros(20, np.uint8)), "y_test has sha256"),
        (lambda folder: npz_in(folder, y_test=np.array([object()])), "cannot be read"),
        (lambda folder: npz_in(folder, y_test=np.zeros(10**6)), "y_test claims 8,000,128 bytes"),
    ],
)
def test_an_unusable_copy_has_a_reason(tmp_path: Path, make: object, reason: str) -> None:
    """Shape, type, digest or format."""
    with pytest.raises(DataError, match=reason):
        small_cache(tmp_path, make(tmp_path)).fetch(Told())  # type: ignore[operator]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", pickle.dumps([1])])
def test_a_file_that_is_not_an_npz_is_refused(tmp_path: Path, content: bytes) -> None:
    """It is never unpickled."""
    (tmp_path / "cifar10.npz").write_bytes(content)
    with pytest.raises(DataError, match="cannot be read"):
        small_cache(tmp_path, tmp_path).fetch(Told())


def test_an_npz_without_an_array_is_refused(tmp_path: Path) -> None:
    """The array is named."""
    np.savez(tmp_path / "other.npz", x_train=small_arrays()["x_train"])
    with pytest.raises(DataError, match="y_train"):
        small_cache(tmp_path, tmp_path).fetch(Told())


def test_a_folder_with_two_npz_files_is_refused(tmp_path: Path) -> None:
    """mlreg does not guess."""
    npz_in(tmp_path).rename(tmp_path / "other.npz")
    npz_in(tmp_path)
    with pytest.raises(DataError, match=r"2 \.npz files: cifar10\.npz, other\.npz"):
        small_cache(tmp_path, tmp_path).fetch(Told())


def test_an_altered_archive_is_refused_before_it_is_read(tmp_path: Path) -> None:
    """Its digest differs, so the code in it never runs."""
    canary = tmp_path / "canary"
    hostile = packed_batches({**batches(), "test_batch": pickle.dumps(Canary(canary))})
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(hostile)
    with pytest.raises(DataError, match=f"expected {small_expected().archive_sha256}"):
        small_cache(tmp_path, tmp_path).fetch(Told())
    assert not canary.exists()


def test_a_batch_that_runs_code_is_refused(tmp_path: Path) -> None:
    """The unpacked folder has no digest of its own; there the reader is the guard."""
    canary = tmp_path / "canary"
    folder = unpack(tmp_path / "cifar-10-batches-py")
    (folder / "test_batch").write_bytes(pickle.dumps(Canary(canary)))
    with pytest.raises(DataError, match=r"test_batch .* refused") as error:
        small_cache(tmp_path, folder).fetch(Told())
    assert error.value.exit_status == 4
    assert not canary.exists()


@pytest.mark.parametrize("missing", ["data_batch_4", "test_batch"])
def test_a_missing_batch_is_named(tmp_path: Path, missing: str) -> None:
    """A folder that was unpacked in part."""
    (unpack(tmp_path / "cifar-10-batches-py") / missing).unlink()
    with pytest.raises(DataError, match=missing):
        small_cache(tmp_path, tmp_path).fetch(Told())


@pytest.mark.real_data
@pytest.mark.skipif("MLREG_TEST_CIFAR" not in os.environ, reason="MLREG_TEST_CIFAR names no .npz")
def test_the_real_arrays_have_the_known_digests(tmp_path: Path) -> None:
    """An .npz of the real data, named by MLREG_TEST_CIFAR, passes every check."""
    real = Path(os.environ["MLREG_TEST_CIFAR"])
    arrays = CifarCache(real, folder=tmp_path / "cache").arrays(Told())
    assert arrays.x_train.shape == (50_000, 32, 32, 3)
    assert np.bincount(arrays.y_test).tolist() == [1000] * 10
