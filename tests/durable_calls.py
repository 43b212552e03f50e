"""What is done to files in an order that a power cut must not change."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture
def calls(monkeypatch) -> list[tuple[str, Path]]:
    """What was done from now on, in order: `fsync`, `rename`, `link` or `unlink`, and the path."""
    done: list[tuple[str, Path]] = []
    fsync, link, unlink = os.fsync, os.link, os.unlink

    def place(descriptor: int | None, name: str | Path) -> Path:
        folder = "" if descriptor is None else Path(f"/proc/self/fd/{descriptor}").readlink()
        return Path(folder, name)

    def noted_fsync(descriptor):
        fsync(descriptor)
        done.append(("fsync", place(descriptor, "")))

    def moving(move):
        def noted(source, target, *, src_dir_fd=None, dst_dir_fd=None):
            move(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
            done.append(("rename", place(dst_dir_fd, target)))

        return noted

    def noted_link(source, target, *, src_dir_fd=None, dst_dir_fd=None, **options):
        link(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd, **options)
        done.append(("link", place(dst_dir_fd, target)))

    def noted_unlink(name, *, dir_fd=None):
        unlink(name, dir_fd=dir_fd)
        done.append(("unlink", place(dir_fd, name)))

    for name, noted in (
        ("fsync", noted_fsync),
        ("rename", moving(os.rename)),
        ("replace", moving(os.replace)),
        ("link", noted_link),
        ("unlink", noted_unlink),
    ):
        monkeypatch.setattr(os, name, noted)
    return done
