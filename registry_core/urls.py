"""The URLs of a team's registry: `postgresql://…` for the index, `s3://…` for the objects.

Connects to nothing. A URL that is shown has no password, whatever it was written with.
"""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

INDEX_SCHEMES = ("postgresql", "postgres")

# parameters of a PostgreSQL URL that are a secret
_SECRETS = ("password", "sslpassword")


def index_problem(url: str) -> str | None:
    """What is wrong with the URL of an index, to follow its name; None if nothing is."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises if it is no number
    except ValueError as error:
        return f"is no URL ({error})"
    if parts.scheme not in INDEX_SCHEMES or not url.startswith(f"{parts.scheme}://"):
        return "must begin with postgresql://"
    if parts.fragment:
        return "has a '#'; write it as %23"
    return None


def objects_problem(url: str) -> str | None:
    """What is wrong with the URL of objects, to follow its name; None if nothing is."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        return f"is no URL ({error})"
    if parts.scheme != "s3" or not parts.netloc:
        return "must be s3://BUCKET or s3://BUCKET/PREFIX"
    if "@" in parts.netloc or parts.query or parts.fragment:
        return "must be a bucket and a prefix alone; keys belong to the environment"
    if any(each in ("", ".", "..") for each in parts.path.strip("/").split("/") if parts.path[1:]):
        return "has an empty part, '.' or '..' in its prefix"
    return None


def has_password(url: str) -> bool:
    """Whether a URL has a password in it, or what an index calls one."""
    parts = urlsplit(url)
    return parts.password is not None or any(key in _SECRETS for key, _ in parse_qsl(parts.query))


def without_password(url: str) -> str:
    """A URL as it can be shown; of a malformed one nothing is, and none stays none."""
    return _without_secrets(url, "/=,:@")


def address(url: str) -> str:
    """A URL without its secrets, as a client on another machine can use it."""
    return _without_secrets(url, "/,:@")


def _without_secrets(url: str, readable: str) -> str:
    if not url:
        return ""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "the URL"
    user, at, host = parts.netloc.rpartition("@")
    kept = [(key, value) for key, value in parse_qsl(parts.query) if key not in _SECRETS]
    query = urlencode(kept, safe=readable)
    shown = urlunsplit(("", user.partition(":")[0] + at + host, parts.path, query, ""))
    # an address without a host, which PostgreSQL takes for this machine, keeps its slashes
    return f"{parts.scheme}:{shown if shown.startswith('//') else f'//{shown}'}"
