"""What a version's record says of its data; it imports nothing, so that `show` starts at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def validation_split(splits: Mapping[str, Any]) -> str | None:
    """The split that validation is equal to, `test` or `train`; None if it differs from both.

    Args:
        splits: name -> its description with its `fingerprint`, as from `describe`.
    """
    if "validation" not in splits:
        return None
    watched = splits["validation"]["fingerprint"]
    others = (name for name in ("test", "train") if name in splits)
    return next((name for name in others if splits[name]["fingerprint"] == watched), None)
