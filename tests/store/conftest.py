"""An S3 server for the tests of the store that ask for one; the servers start at the first use."""

from __future__ import annotations

import pytest
from broken_s3 import proxy
from s3_server import s3

__all__ = ["proxy", "url"]


@pytest.fixture
def url() -> str:
    """The URL of an empty prefix on the S3 server."""
    return s3().fresh_url()
