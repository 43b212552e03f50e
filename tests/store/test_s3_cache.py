"""What this machine keeps of objects on S3.

With it, reads go on without the server.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from s3_helpers import content_of
from store_backends import damage_object

from registry_core.errors import IntegrityError
from registry_core.process import guard
from registry_core.store.s3 import client
from registry_core.store.s3.cache import CachedObjects
from registry_core.store.s3.objects import S3Objects

pytestmark = pytest.mark.gate


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("MLREG_CACHE", str(folder))
    return folder


def test_what_was_read_once_is_read_without_the_server(url, tmp_path, monkeypatch):
    """And said once, on stderr; what was not read before cannot be read now."""
    monkeypatch.setattr(client, "BACKOFF_MILLISECONDS", 1)
    (kept, source), (other, other_source) = (
        content_of(tmp_path, content) for content in (b"kept" * 1000, b"other")
    )
    objects = S3Objects(url)
    objects.put(kept, source)
    objects.put(other, other_source)
    assert CachedObjects(objects).read(kept, "it", 4000) == b"kept" * 1000
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    warned: list[str] = []
    with guard.warnings_to(warned.append):
        offline = CachedObjects(S3Objects(url))
        for _ in range(2):
            assert offline.read(kept, "it", 4000) == b"kept" * 1000
        assert offline.size(kept) == 4000
        assert offline.stamp(kept) is None
        with pytest.raises(OSError, match="cannot be reached"):
            offline.read(other, "it", 100)
        with pytest.raises(OSError, match="cannot be reached"):
            offline.stat(kept)
    (text,) = warned
    assert url in text and "cache" in text


def test_a_damaged_copy_is_read_from_the_server_again(url, tmp_path, _cache):
    digest, source = content_of(tmp_path, b"content")
    objects = CachedObjects(S3Objects(url))
    objects.put(digest, source)
    assert objects.read(digest, "it", 100) == b"content"
    (copy,) = _cache.glob("objects/??/*")
    copy.write_bytes(b"c0ntent")
    assert objects.read(digest, "it", 100) == b"content"
    assert copy.read_bytes() == b"content"


def test_a_damaged_object_is_found_though_a_copy_is_whole(url, tmp_path):
    """By what asks for the stored one: an audit, a promotion, a collection."""
    digest, source = content_of(tmp_path, b"content")
    objects = CachedObjects(S3Objects(url))
    objects.put(digest, source)
    objects.read(digest, "it", 100)
    damage_object(url, digest)
    assert objects.read(digest, "it", 100) == b"content"
    with pytest.raises(IntegrityError):
        objects.stored().read(digest, "it", 100)


def test_a_damaged_object_is_not_kept(url, tmp_path, _cache):
    digest, source = content_of(tmp_path, b"content")
    objects = CachedObjects(S3Objects(url))
    objects.put(digest, source)
    damage_object(url, digest)
    with pytest.raises(IntegrityError):
        objects.read(digest, "it", 100)
    assert [path for path in _cache.rglob("*") if path.is_file()] == []


def test_the_least_recently_used_copies_are_deleted(url, tmp_path, _cache):
    objects = CachedObjects(S3Objects(url), cache_gb=10e-6)
    digests = []
    for number in range(6):
        digest, source = content_of(tmp_path, bytes([number]) * 3000)
        objects.put(digest, source)
        digests.append(digest)
        objects.read(digest, "it", 3000)
        objects.read(digests[0], "it", 3000)
    kept = {path.name for path in _cache.glob("objects/??/*")}
    assert digests[0] in kept and digests[5] in kept and digests[1] not in kept
    assert sum(path.stat().st_size for path in _cache.glob("objects/??/*")) <= 10_000


def test_a_cache_that_cannot_be_written_is_done_without(url, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MLREG_CACHE", str(tmp_path / "file"))
    digest, source = content_of(tmp_path, b"content")
    objects = CachedObjects(S3Objects(url))
    objects.put(digest, source)
    for _ in range(2):
        assert objects.read(digest, "it", 100) == b"content"
