"""Objects on S3, and the probe of a store, beyond what the contract has.

The server is a real one. What it cannot be made to do, a proxy in front of it does.
"""

from __future__ import annotations

import errno
import os
import time

import obstore
import pytest
from broken_s3 import FAULTS
from obstore.exceptions import GenericError
from s3_helpers import content_of
from s3_server import READER

from registry_core.errors import IntegrityError, StorageError
from registry_core.store.s3 import client
from registry_core.store.s3 import objects as s3_objects
from registry_core.store.s3.objects import S3Objects
from registry_core.store.s3.probe import probe

pytestmark = pytest.mark.gate


def test_a_large_object_is_sent_in_pieces_and_reads_back(url, tmp_path, monkeypatch):
    """In memory there are a few pieces at a time; it is compared after the upload."""
    monkeypatch.setattr(s3_objects, "ONE_REQUEST_BYTES", 1 << 20)
    content = os.urandom(20 << 20)
    digest, path = content_of(tmp_path, content)
    objects = S3Objects(url)
    objects.put(digest, path)
    assert objects.stat(digest).size == len(content)
    assert objects.bucket.head(objects.key(digest)).tag.endswith("-3")
    with objects.open(digest) as stream:
        assert stream.read() == content


def test_how_much_was_sent_is_told_while_files_are_sent(url, tmp_path, proxy, monkeypatch):
    """A few times a second; nothing is told of what takes less time."""
    monkeypatch.setattr(s3_objects, "ONE_REQUEST_BYTES", 1 << 20)
    large, small = content_of(tmp_path, os.urandom(20 << 20)), content_of(tmp_path, b"small")
    told = []

    def put(*files):
        S3Objects(url).put_all(dict(files), {}, lambda done, total: told.append((done, total)))

    put(small)
    assert told == []
    monkeypatch.setattr(s3_objects, "_SECONDS_BETWEEN", 0.01)
    proxy.on_call = lambda number: time.sleep(0.1)
    put(small, large)
    whole = (20 << 20) + len(b"small")
    assert {total for _, total in told} == {whole}
    done = [done for done, _ in told]
    assert done == sorted(done)
    assert 0 < done[-1] <= whole and len({*done}) > 2


def test_what_is_sent_again_counts_once(url, tmp_path, monkeypatch):
    """The first try ends after some bytes."""
    digest, path = content_of(tmp_path, content := os.urandom(20 << 20))
    put, told = obstore.put, []

    def cut_off(store, key, stream, **options):
        monkeypatch.setattr(obstore, "put", put)
        stream.read(5 << 20)
        raise GenericError("the connection was reset")

    monkeypatch.setattr(obstore, "put", cut_off)
    monkeypatch.setattr(client, "BACKOFF_MILLISECONDS", 1)
    objects = S3Objects(url)
    objects.bucket.replace_by_pieces(objects.key(digest), path, told.append)
    assert min(told) == -(5 << 20)
    assert sum(told) == len(content)
    with objects.open(digest) as stream:
        assert stream.read() == content


def test_an_object_that_is_there_is_not_sent_again(url, tmp_path, proxy):
    digest, path = content_of(tmp_path, b"content")
    S3Objects(url).put(digest, path)
    proxy.start_counting()
    S3Objects(url).put(digest, path)
    assert [call.partition(" ")[0] for call in proxy.calls] == ["HEAD"]


def test_an_upload_that_arrives_as_something_else_is_refused(url, tmp_path, monkeypatch):
    """By the tag, or where the server's tags mean nothing, by reading it back."""
    digest, path = content_of(tmp_path, b"content")
    objects = S3Objects(url)
    honest = objects.bucket.create

    def changing(key, content):
        honest(key, content + b"!")
        return "a tag that is no MD5"

    monkeypatch.setattr(objects.bucket, "create", changing)
    with pytest.raises(IntegrityError, match=digest):
        objects.put(digest, path)
    assert objects.stat(digest) is None
    monkeypatch.setattr(objects.bucket, "create", lambda *a: honest(*a) and "no MD5 either")
    objects.put(digest, path)
    assert objects.read(digest, "it", 100) == b"content"


def test_a_source_that_is_a_link_is_not_followed(url, tmp_path):
    digest, path = content_of(tmp_path, b"content")
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(OSError):
        S3Objects(url).put(digest, tmp_path / "link")


def test_other_files_below_the_prefix_are_not_objects(url, tmp_path):
    digest, path = content_of(tmp_path, b"content")
    objects = S3Objects(url)
    objects.put(digest, path)
    for key in ("objects/sha256/ab/README", f"objects/sha256/00/{digest}", "objects/sha256/x"):
        objects.bucket.replace(key, b"")
    assert [info.digest for info in objects.list()] == [digest]


@pytest.mark.parametrize(
    ("changes", "number", "why"),
    [
        ({"AWS_ACCESS_KEY_ID": "nobody"}, errno.EACCES, "not known|does not allow"),
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, errno.EACCES, "secret key|does not allow"),
        ({"AWS_ACCESS_KEY_ID": READER}, errno.EACCES, "does not allow"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, errno.EHOSTUNREACH, "cannot be reached"),
    ],
)
def test_what_the_server_refuses_is_said(url, monkeypatch, changes, number, why):
    """With the object's place, and without the library's own words."""
    monkeypatch.setattr(client, "BACKOFF_MILLISECONDS", 1)
    for name, value in changes.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(OSError, match=why) as refused:
        S3Objects(url).bucket.create("key", b"content")
    assert refused.value.errno == number
    assert refused.value.filename == f"{url}/key"
    assert "obstore" not in str(refused.value)


def test_a_bucket_that_is_missing_is_not_an_empty_one(tmp_path):
    objects = S3Objects("s3://no-such-bucket/prefix")
    with pytest.raises(OSError, match="no such bucket"):
        objects.prepare()
    with pytest.raises(OSError, match="no such bucket"):
        objects.read_small("ab" * 32, 10)


# --- the probe -----------------------------------------------------------------------------------


def test_a_store_that_keeps_its_promises_passes_the_probe(url):
    probe(url)
    assert list(S3Objects(url).bucket.list("probe")) == []


def test_a_store_that_creates_twice_is_refused_by_name(url, proxy):
    proxy.second_create = True
    with pytest.raises(StorageError, match=f"{url} says yes when an object that is there"):
        probe(url)
    assert list(S3Objects(url).bucket.list("probe")) == []


def test_a_store_that_may_not_be_written_says_so(url, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", READER)
    with pytest.raises(PermissionError, match="does not allow"):
        probe(url)
    with pytest.raises(PermissionError, match="does not allow"):
        S3Objects(url).delete("ab" * 32)


@pytest.mark.parametrize("fault", FAULTS)
def test_the_probe_is_not_misled_by_a_call_that_breaks(url, proxy, fault):
    probe(url)
    for number in range(1, len(proxy.calls) + 1):
        with proxy.broken(fault, number, number):
            probe(url)
