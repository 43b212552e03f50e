"""The fingerprint of a split's files: what it depends on, and when a file is hashed again."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path

import pytest

from registry_core.data import file_fingerprints
from registry_core.data.file_fingerprints import files_fingerprint
from registry_core.errors import DataError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """The folder of the cache; files count as settled as soon as they are written."""
    monkeypatch.setenv("MLREG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(file_fingerprints, "_RECENT_SECONDS", -1.0)
    return tmp_path / "cache" / ".file-digests"


@pytest.fixture
def hashed(monkeypatch) -> list[str]:
    """The names of the files that are hashed, as it happens."""
    names: list[str] = []
    digest = hashlib.file_digest

    def spy(stream, kind):
        names.append(Path(stream.name).name)
        return digest(stream, kind)

    monkeypatch.setattr(hashlib, "file_digest", spy)
    return names


def folder_of(folder: Path, **contents: str) -> list[Path]:
    (folder / "sub").mkdir(parents=True, exist_ok=True)
    files = [folder / "sub" / f"{name}.txt" for name in contents]
    for file, text in zip(files, contents.values(), strict=True):
        file.write_text(text)
    return files


class Told:
    def __init__(self) -> None:
        self.steps: list[tuple[str, int, int | None]] = []

    def say(self, text: str) -> None:
        raise AssertionError(text)

    def step(self, what: str, done: int, total: int | None = None) -> None:
        self.steps.append((what, done, total))


def fingerprint(files, part="", examples=4, progress=None) -> str:
    return files_fingerprint(files, part, examples, "train", progress)


def test_names_order_sizes_and_contents_count_and_the_folder_does_not(tmp_path):
    """So a copy elsewhere, with other times, is the same data."""
    files = folder_of(tmp_path / "here", a="one", b="two")
    whole = fingerprint(files)
    assert whole == fingerprint(folder_of(tmp_path / "there" / "below", a="one", b="two"))
    assert whole == fingerprint([str(file) for file in files])
    others = [
        fingerprint(files[::-1]),
        fingerprint(files[:1]),
        fingerprint(folder_of(tmp_path / "1", a="one", c="two")),
        fingerprint(folder_of(tmp_path / "2", a="one", b="twp")),
        fingerprint(folder_of(tmp_path / "3", a="onet", b="wo")),
        fingerprint(files, examples=3),
        fingerprint(files, part="the first half"),
    ]
    assert len({whole, *others}) == 8
    assert all(len(each) == 71 and each.startswith("sha256:") for each in others)


def test_relative_names_are_of_the_current_folder(tmp_path, monkeypatch):
    files = folder_of(tmp_path, a="one", b="two")
    whole = fingerprint(files)
    monkeypatch.chdir(tmp_path)
    assert fingerprint(["sub/a.txt", "sub/b.txt"]) == whole


def test_the_second_run_hashes_nothing(tmp_path, hashed):
    """And the progress of the first is shown in bytes."""
    files, told = folder_of(tmp_path, a="one", b="four"), Told()
    first = fingerprint(files, progress=told)
    assert sorted(hashed) == ["a.txt", "b.txt"]
    assert told.steps == [("hashing the train files", 3, 7), ("hashing the train files", 7, 7)]
    hashed.clear()
    assert fingerprint(files) == first
    assert hashed == []


def test_a_file_that_changed_is_hashed_again(tmp_path, hashed):
    """By size, by time, and by another file in its place with both as before."""
    files = folder_of(tmp_path, a="one", b="two")
    seen = {fingerprint(files)}
    for text in ("three", "seven"):
        time.sleep(0.02)
        files[0].write_text(text)
        seen.add(fingerprint(files))
    kept = files[0].stat()
    other = tmp_path / "other"
    other.write_text("eight")
    other.replace(files[0])
    os.utime(files[0], ns=(kept.st_atime_ns, kept.st_mtime_ns))
    seen.add(fingerprint(files))
    assert len(seen) == 4
    assert hashed.count("b.txt") == 1
    assert hashed.count("a.txt") == 4


def test_a_file_that_changed_a_moment_ago_is_not_cached(tmp_path, hashed, monkeypatch):
    """It could change again with the same size, time and inode."""
    monkeypatch.setattr(file_fingerprints, "_RECENT_SECONDS", 60.0)
    files = folder_of(tmp_path, a="one")
    fingerprint(files)
    fingerprint(files)
    assert hashed == ["a.txt", "a.txt"]


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"[]", b"\xff", b'{"a.txt": 1}', b'{"a.txt": ["x", 1, 2, 3, "0"]}', b"[" * 9999],
)
def test_a_damaged_cache_is_ignored_and_replaced(tmp_path, cache, hashed, damage):
    files = folder_of(tmp_path, a="one")
    first = fingerprint(files)
    (stored,) = cache.iterdir()
    stored.write_bytes(damage)
    hashed.clear()
    assert fingerprint(files) == first
    assert hashed == ["a.txt"]
    assert json.loads(stored.read_text())["a.txt"][-1] == hashlib.sha256(b"one").hexdigest()
    assert [file.name for file in cache.iterdir()] == [stored.name]


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path, cache, hashed):
    cache.parent.mkdir()
    cache.write_text("in the way")
    files = folder_of(tmp_path, a="one")
    assert fingerprint(files) == fingerprint(files)
    assert hashed == ["a.txt", "a.txt"]


def test_a_missing_file_is_named(tmp_path):
    files = [*folder_of(tmp_path, a="one"), tmp_path / "sub" / "gone.txt"]
    with pytest.raises(DataError) as caught:
        fingerprint(files)
    assert caught.value.what == f"{files[1]}, a file of the train split, does not exist."


def test_a_folder_and_a_pipe_are_no_files(tmp_path):
    """Neither is opened: a pipe would wait."""
    os.mkfifo(tmp_path / "pipe")
    for name, kind in (("pipe", "no regular file"), ("", "a folder")):
        with pytest.raises(DataError, match=kind):
            fingerprint([tmp_path / name])


def test_a_file_that_changes_while_it_is_hashed_is_an_error(tmp_path, monkeypatch):
    """What was hashed would be neither the old content nor the new one."""
    files = folder_of(tmp_path, a="one")
    digest = hashlib.file_digest

    def slow(stream, kind):
        found = digest(stream, kind)
        files[0].write_text("other")
        return found

    monkeypatch.setattr(hashlib, "file_digest", slow)
    with pytest.raises(DataError, match=r"a\.txt, a file of the train split, changed while"):
        fingerprint(files)
