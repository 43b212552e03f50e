"""The record in a manifest that arrives, compared with what runs and imports write.

Whatever shows a version relies on these keys and types. A registry checks its own records when it
writes them; this is for those that another one wrote.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from registry_core.errors import IntegrityError, safe_repr

# key -> the types that its value may have; a key that ends with ? may be missing
Shape = Mapping[str, "tuple[type, ...] | Shape"]

_NUMBER = (int, float)
_TEXT_OR_NONE = (str, type(None))
_RECORD: Shape = {
    "config": (dict,),
    "history?": (dict,),
    "epoch_seconds": (list,),
    "training?": (dict,),
    "not_repeatable?": (list,),
    "operations?": (dict,),
    "parameters?": (dict,),
    "command_seconds?": _NUMBER,
    "data": {"source": _TEXT_OR_NONE, "class_names?": (list, type(None)), "splits": (dict,)},
    "data_dir?": _TEXT_OR_NONE,
    "figures_missing?": _TEXT_OR_NONE,
    "plugins?": (list,),
    "code?": (dict,),
    "custom_objects?": (list,),
    "environment": (dict,),
    "weights?": (str,),
}
_SPLIT: Shape = {"examples": (int,), "fingerprint": (str,)}
_IMPORTED: Shape = {"file": (str,), "size": (int,), "keras_version": (str,), "loss": (str,)}


def check_record(manifest: Mapping[str, Any], ref: str) -> None:
    """Refuse a record that no run and no import wrote.

    Raises:
        IntegrityError: names the first key that is missing or of another type.
    """
    wrong = _wrong(manifest, _RECORD, "")
    if not wrong:
        for name, split in manifest["data"]["splits"].items():
            wrong = wrong or _wrong(split, _SPLIT, f"data.splits.{name}.")
        if "test" not in manifest["data"]["splits"]:
            wrong = wrong or "data.splits.test is missing"
        if not all(isinstance(each, int | float) for each in manifest["epoch_seconds"]):
            wrong = wrong or "epoch_seconds has something else than numbers"
        if "imported" in manifest:
            wrong = wrong or _wrong(manifest["imported"], _IMPORTED, "imported.")
    if wrong:
        raise IntegrityError(
            f"{ref} was not copied: its record is not one that mlreg writes: {wrong}.",
            "Nothing of it was registered. Look at the version where it comes from.",
        )


def _wrong(value: object, shape: Shape, place: str) -> str:
    """What is wrong with a value; empty if it has the shape."""
    if not isinstance(value, Mapping):
        return f"{place.rstrip('.')} is not an object"
    for key, kinds in shape.items():
        name = key.removesuffix("?")
        if name not in value:
            if name == key:
                return f"{place}{name} is missing"
        elif isinstance(kinds, Mapping):
            if wrong := _wrong(value[name], kinds, f"{place}{name}."):
                return wrong
        elif not isinstance(value[name], kinds) or isinstance(value[name], bool):
            return f"{place}{name} is {safe_repr(value[name], 40)}"
    return ""
