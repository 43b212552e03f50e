"""Servers, and what notes calls, for the tests of the store; a server starts at its first use."""

from __future__ import annotations

import pytest
from broken_s3 import proxy
from durable_calls import calls
from s3_server import s3

__all__ = ["calls", "proxy", "url"]


@pytest.fixture
def url() -> str:
    """The URL of an empty prefix on the S3 server."""
    return s3().fresh_url()
