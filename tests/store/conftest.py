"""An S3 server for the tests of the store that ask for one; the servers start at the first use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from broken_s3 import BrokenS3
from s3_server import environment, s3

from registry_core.store.s3 import client


@pytest.fixture
def url() -> str:
    """The URL of an empty prefix on the S3 server."""
    return s3().fresh_url()


@pytest.fixture
def proxy(monkeypatch) -> Iterator[BrokenS3]:
    """A proxy that is used instead of the S3 server, by clients that wait for almost nothing."""
    made = BrokenS3(s3().endpoint)
    monkeypatch.setattr(client, "BACKOFF_MILLISECONDS", 1)
    for name, value in environment(made.endpoint).items():
        monkeypatch.setenv(name, value)
    yield made
    made.close()
