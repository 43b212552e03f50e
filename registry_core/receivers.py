"""Who is told of a promotion: the sections `[notify.NAME]` of plugins.toml.

Only what they say, and whether it can be meant; nothing is sent here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from registry_core.dataclass import dataclass

# What a receiver can be told of: actions of the ledger that are about an alias.
EVENTS = (
    "promoted", "rolled_back", "released", "refused", "requested", "approved", "declined",
)  # fmt: skip

_NAME = re.compile("[a-z][a-z0-9_-]{0,63}")
_VARIABLE = re.compile("[A-Za-z_][A-Za-z0-9_]*")
_MOST_RETRIES, _MOST_SECONDS = 100, 300


@dataclass(frozen=True)
class Receiver:
    """A command, or an address, that is told of what happened to aliases.

    Args:
        name: NAME of `[notify.NAME]`.
        command: the program and its arguments; empty for an address.
        url: the address that gets a POST; empty for a command.
        url_env: the environment variable that has the address, where it is a secret.
        events: which of `EVENTS` it is told of.
        secret_env: the environment variable that has the key by which messages are signed.
        retries: how often later commands try again what failed.
        timeout: how long it may take, in seconds.
    """

    name: str
    command: Sequence[str] = ()
    url: str = ""
    url_env: str = ""
    events: Sequence[str] = ("promoted", "rolled_back")
    secret_env: str = ""
    retries: int = 5
    timeout: float = 10.0


KEYS = tuple(key for key in Receiver.__dataclass_fields__ if key != "name")


def event_of(action: str) -> str:
    """The event of an action of the ledger: `rolled_back` for `rolled back`."""
    return action.replace(" ", "_")


def is_receiver_name(text: str) -> bool:
    """Whether a receiver can have this name."""
    return _NAME.fullmatch(text) is not None


def wrong_value(key: str, value: Any) -> str | None:
    """What is wrong with the value of a key, as the end of a sentence; None if nothing is.

    Args:
        key: one of KEYS.
        value: its value in TOML.
    """
    if key == "command":
        words = isinstance(value, list) and all(isinstance(word, str) for word in value)
        if not words or not value or not value[0] or any("\0" in word for word in value):
            return 'must be a list of a program and its arguments: ["/usr/bin/notify", "team"]'
        return None
    if key == "events":
        known = isinstance(value, list) and value and all(each in EVENTS for each in value)
        return None if known else f"must be a list of {', '.join(EVENTS)}"
    if key in ("url_env", "secret_env"):
        named = isinstance(value, str) and _VARIABLE.fullmatch(value)
        return None if named else "must be the name of an environment variable"
    if key == "url":
        return url_problem(value) if isinstance(value, str) else "must be a text"
    if key == "retries":
        good = isinstance(value, int) and not isinstance(value, bool)
        good = good and 0 <= value <= _MOST_RETRIES
        return None if good else f"must be a whole number, 0 to {_MOST_RETRIES}"
    good = isinstance(value, int | float) and not isinstance(value, bool)
    good = good and math.isfinite(value) and 0 < value <= _MOST_SECONDS
    return None if good else f"must be a number of seconds, above 0 and at most {_MOST_SECONDS}"


def wrong_section(section: Mapping[str, Any]) -> str | None:
    """What is wrong with the keys of a section together; None if nothing is."""
    named = [key for key in ("command", "url", "url_env") if key in section]
    if len(named) != 1:
        has = " and ".join(f"'{key}'" for key in named) or "none"
        return f"must have one of 'command', 'url' and 'url_env', and has {has}"
    if "command" in section and "secret_env" in section:
        return "signs nothing that a command gets; leave out 'secret_env'"
    return None


def url_problem(url: str) -> str | None:
    """Why nothing is sent to a URL, as the end of a sentence; None if it can be."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        return f"is no URL ({error})"
    if parts.scheme not in ("https", "http") or not host:
        return "must begin with https://"
    if not url.isascii() or not url.isprintable() or " " in url:
        return "has a character that must be written as %XX"
    if "@" in parts.netloc:
        return "has a name or password; put the whole URL into a variable, and name it by url_env"
    if parts.scheme == "http" and not is_loopback(host):
        return "must begin with https://; http is for this machine alone"
    return None


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    import ipaddress  # takes 2 ms, and every command reads plugins.toml

    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
