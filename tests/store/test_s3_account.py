"""Whose requests to S3 they are: the environment first, then the profiles of AWS."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest

from registry_core.errors import UsageError
from registry_core.store.s3.account import account
from registry_core.store.s3.client import Bucket
from registry_core.store.s3.errors import as_os_error


@pytest.fixture(autouse=True)
def aws(tmp_path, monkeypatch) -> Path:
    """An empty folder of profiles, and nothing in the environment."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    folder = tmp_path / ".aws"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    return folder


def test_keys_in_the_environment_come_before_a_profile(aws, monkeypatch):
    (aws / "credentials").write_text(
        "[default]\naws_access_key_id = A\naws_secret_access_key = B\n"
    )
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "from the environment")
    assert account().config == {}


def test_a_profile_has_keys_region_and_address(aws, monkeypatch):
    (aws / "credentials").write_text(
        "[default]\naws_access_key_id = A\naws_secret_access_key = B\n"
        "[lab]\naws_access_key_id = C\naws_secret_access_key = D%\naws_session_token = E\n"
    )
    (aws / "config").write_text(
        "[default]\nregion = eu-west-1\n"
        "[profile lab]\nregion = eu-central-1\nendpoint_url = https://s3.example.org\n"
    )
    assert account().config == {
        "access_key_id": "A", "secret_access_key": "B", "region": "eu-west-1",
    }  # fmt: skip
    monkeypatch.setenv("AWS_PROFILE", "lab")
    assert account().config == {
        "access_key_id": "C", "secret_access_key": "D%", "session_token": "E",
        "region": "eu-central-1", "endpoint": "https://s3.example.org",
    }  # fmt: skip
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://other.example.org")
    assert "region" not in account().config  # obstore takes the environment's
    assert account().config["endpoint"] == "https://other.example.org"


def test_a_profile_that_is_named_and_missing_is_refused(aws, monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "typo")
    with pytest.raises(UsageError, match="AWS_PROFILE is typo"):
        account()


def test_a_profile_with_a_role_needs_boto3(aws, monkeypatch):
    (aws / "config").write_text("[default]\nrole_arn = arn:aws:iam::1:role/x\n")
    monkeypatch.setitem(sys.modules, "obstore.auth.boto3", None)
    with pytest.raises(UsageError, match="a role, a login or a program") as refused:
        account()
    assert refused.value.command == "pip install boto3"


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("https://s3.example.org", True),
        ("http://127.0.0.1:9000", True),
        ("http://[::1]:9000", True),
        ("http://localhost:9000", True),
        ("http://192.0.2.1:9000", False),
        ("http://localhost.example.org", False),
        ("s3.example.org", False),
        ("ftp://s3.example.org", False),
    ],
)
def test_only_this_machine_may_be_asked_without_encryption(address, allowed, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    if allowed:
        assert account().allow_http == address.startswith("http:")
    else:
        with pytest.raises(UsageError, match="AWS_ENDPOINT_URL is"):
            account()


def test_an_address_of_a_trusted_network_can_be_allowed(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://192.0.2.1:9000")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    assert account().allow_http


@pytest.mark.parametrize(
    "url",
    ["s3://", "https://bucket/prefix", "s3://key:secret@bucket/prefix", "s3://b/p?x=1", "s3:/b/p"],
)
def test_the_url_of_objects_has_a_bucket_and_a_prefix_and_no_keys(url):
    with pytest.raises(UsageError, match="s3://") as refused:
        Bucket(url)
    assert "secret" not in str(refused.value)
    assert Bucket("s3://bucket").place == "s3://bucket"
    assert Bucket("s3://bucket/a/b/").place == "s3://bucket/a/b"


@pytest.mark.parametrize(
    "said",
    [
        "PUT http://169.254.169.254/latest/api/token - Server returned non-2xx status code: 403 "
        "Forbidden: denied",
        "PUT http://169.254.169.254/latest/api/token - error sending request",
        "GET http://169.254.170.2/v2 - Server returned non-2xx status code: 404 Not Found",
    ],
)
def test_no_keys_at_all_are_said_whatever_answers_in_their_place(said):
    """Without keys a machine of Amazon's is asked for its role; elsewhere a proxy may answer."""
    found = as_os_error(Exception(f"Generic S3 error: Error performing {said}"), "s3://b/p")
    assert (found.errno, found.strerror) == (errno.EACCES, "no AWS credentials were found")
