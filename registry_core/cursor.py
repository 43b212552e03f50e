"""Places in a list as text, for the next page: opaque, and checked when they come back."""

from __future__ import annotations

from typing import Any

# More than the longest names need.
_LONGEST = 4000


def format_place(place: object) -> str:
    """A text of letters, digits, - and _ for a JSON value; `read_place` reads it."""
    import base64
    import json
    import zlib

    content = json.dumps(place, separators=(",", ":")).encode()
    check = zlib.crc32(content).to_bytes(4, "big")
    return base64.urlsafe_b64encode(check + content).decode().rstrip("=")


def read_place(text: str) -> Any:
    """The value of a text that `format_place` made.

    Raises:
        ValueError: it is damaged.
    """
    import base64
    import json
    import zlib

    if len(text) > _LONGEST:
        raise ValueError("it is too long")
    decoded = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
    if zlib.crc32(decoded[4:]).to_bytes(4, "big") != decoded[:4]:
        raise ValueError("it was changed")
    return json.loads(decoded[4:])
