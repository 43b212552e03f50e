"""Whose requests they are, and to which server: by the environment and the profiles of AWS.

obstore reads the environment and asks for a machine's own role. Profiles in ~/.aws are read here;
those that name a role or a login instead of keys are left to boto3, if it is installed.
"""

from __future__ import annotations

import configparser
import os
from collections.abc import Mapping
from dataclasses import field
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from registry_core.dataclass import dataclass
from registry_core.errors import UsageError

_KEYS = {
    "aws_access_key_id": "access_key_id",
    "aws_secret_access_key": "secret_access_key",
    "aws_session_token": "session_token",
}
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
_BY_OTHER_MEANS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
_YES = ("1", "true", "yes", "on", "y", "t")


@dataclass(frozen=True)
class Account:
    """What obstore is told beside what it finds itself.

    Args:
        config: keys, region and address.
        provider: a source of keys that change; None without one.
        allow_http: whether the address may be without encryption.
    """

    config: dict[str, Any] = field(default_factory=dict)
    provider: Any = None
    allow_http: bool = False


def account() -> Account:
    """The account that AWS's own tools would use here.

    Raises:
        UsageError: a profile is missing, or the address is not safe.
    """
    profile = _profile()
    config: dict[str, Any] = {}
    provider = None
    if not any(os.environ.get(name) for name in _BY_OTHER_MEANS):
        config = {ours: profile[theirs] for theirs, ours in _KEYS.items() if theirs in profile}
        if profile and "access_key_id" not in config:
            provider = _by_boto3(profile)
    if "region" in profile and not (
        os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    ):
        config["region"] = profile["region"]
    given = (os.environ.get(name) for name in _ENDPOINTS)
    endpoint = next(filter(None, given), profile.get("endpoint_url", ""))
    if not endpoint:
        return Account(config, provider)
    return Account({**config, "endpoint": endpoint}, provider, _is_http(endpoint))


def _profile() -> Mapping[str, str]:
    """The values of the chosen profile in ~/.aws/credentials and ~/.aws/config."""
    name = os.environ.get("AWS_PROFILE") or "default"
    found: dict[str, str] = {}
    for variable, file, section in (
        ("AWS_CONFIG_FILE", "config", name if name == "default" else f"profile {name}"),
        ("AWS_SHARED_CREDENTIALS_FILE", "credentials", name),
    ):
        path = Path(os.environ.get(variable) or f"~/.aws/{file}").expanduser()
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError) as error:
            raise UsageError(
                f"{path} is not a file of AWS profiles.", "Correct it, or set AWS_ACCESS_KEY_ID."
            ) from error
        if parser.has_section(section):
            found |= dict(parser[section])
    if os.environ.get("AWS_PROFILE") and not found:
        raise UsageError(
            f"AWS_PROFILE is {name}, and ~/.aws has no such profile.",
            "Unset it, or name one of the profiles.",
            "aws configure list-profiles",
        )
    return found


def _by_boto3(profile: Mapping[str, str]) -> Any:
    """The keys that boto3 gets for a profile that has none itself; None if it needs none."""
    if not any(key in profile for key in ("role_arn", "sso_session", "sso_start_url",
                                          "credential_process", "login_session")):  # fmt: skip
        return None
    try:
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError as error:
        raise UsageError(
            "This AWS profile gets its keys by a role, a login or a program.",
            "boto3 can do that. Install it, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
            "pip install boto3",
        ) from error
    return Boto3CredentialProvider()


def _is_http(endpoint: str) -> bool:
    """Whether the address is without encryption, and may be.

    Raises:
        UsageError: it may not, or is no address.
    """
    parts = urlsplit(endpoint)
    if parts.scheme == "https" and parts.hostname:
        return False
    if parts.scheme != "http" or not parts.hostname:
        raise UsageError(
            "AWS_ENDPOINT_URL is not an address of an S3 server.", "One is https://HOST:PORT."
        )
    allowed = os.environ.get("AWS_ALLOW_HTTP", "").lower() in _YES
    if allowed or _is_loopback(parts.hostname):
        return True
    raise UsageError(
        f"AWS_ENDPOINT_URL is http://{parts.hostname}: what is sent there is not encrypted.",
        "Use https, or allow it for a network that you trust.",
        "export AWS_ALLOW_HTTP=true",
    )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
