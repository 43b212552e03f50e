"""The manifest of a version: canonical JSON, and what a plugin may put into it.

The manifest is an object like the files, and has all that the index knows of its version, so the
index can be rebuilt from the objects alone.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from registry_core.dataclass import dataclass
from registry_core.errors import PluginError, UsageError
from registry_core.records import FileRecord, Origin, Version
from registry_core.refs import shown

if TYPE_CHECKING:
    from registry_core.records import LedgerRow
    from registry_core.store.interfaces.objects import Objects

SCHEMA = 1
LIMIT_BYTES = 4 << 20
LIMIT_DEPTH = 64
LIMIT_TAG = 1000
TAG = r"[a-z][a-z0-9_.-]{0,63}"

_OURS = ("schema", "model", "version", "created", "run", "files")


@dataclass(frozen=True)
class Objective:
    """What makes one version better than another: a metric, and whether more of it is better."""

    metric: str
    direction: str

    def __str__(self) -> str:
        return f"{self.direction} {self.metric}"

    def score(self, metrics: Mapping[str, float]) -> float:
        """The metric, negated if lower is better."""
        value = float(metrics[self.metric])
        return value if self.direction == "max" else -value


def canonical(value: object) -> bytes:
    """JSON with sorted keys and no spaces: equal values give equal bytes."""
    text = json.dumps(
        value,
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
        allow_nan=False,
        default=dict,  # a mapping that is not a dict; check_json let nothing else through
    )
    return text.encode("utf-8")


def read_json(content: bytes) -> Any:
    """The value of a JSON text from any source.

    Raises:
        ValueError: it is not JSON, not UTF-8, or too deep to be read.
    """
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError("it is deeper than what mlreg writes") from error


def check_json(value: object, what: str) -> None:
    """Refuse a value that is not JSON, too large, too deep, or not finite.

    Walks with an explicit stack, so that 10,000 levels are an error and not a crash.

    Args:
        value: mappings with string keys, lists, strings, numbers, booleans and None.
        what: its name, for the message: `record`.

    Raises:
        PluginError: names the limit, and the path inside the value.
    """
    total = 0
    stack: list[tuple[object, str, int]] = [(value, "", 0)]
    while stack:
        item, path, depth = stack.pop()
        if isinstance(item, str):
            total += len(item)
            _check_text(item, what, path)
        elif isinstance(item, bool) or item is None:
            total += 4
        elif isinstance(item, int):
            total += item.bit_length() // 4 + 1
            if item.bit_length() > 64:
                raise _refused(what, path, "an integer of more than 64 bits")
        elif isinstance(item, float):
            total += 8
            if not math.isfinite(item):
                raise _refused(what, path, f"{item}, which JSON has no word for")
        elif isinstance(item, Mapping | list | tuple):  # last: the slowest to find out
            if depth >= LIMIT_DEPTH:
                raise _refused(what, path, f"deeper than {LIMIT_DEPTH} levels")
            total += 2 * len(item)
            if total <= LIMIT_BYTES:
                stack.extend(
                    (inner, place, depth + 1) for inner, place in _inside(item, what, path)
                )
        else:
            raise _refused(what, path, f"a {type(item).__name__}, which is not JSON")
        if total > LIMIT_BYTES:
            raise _refused(what, path, f"more than {LIMIT_BYTES} bytes")


def check_record(record: Mapping[str, Any]) -> Objective:
    """Refuse a record that is not valid for a version; return its objective.

    Raises:
        PluginError: a field is missing, has the wrong type, or is not JSON.
    """
    check_json(record, "record")
    for key in _OURS:
        if key in record:
            raise _refused("record", key, "a field that the registry writes")
    for key, kind in (("dataset", str), ("preset", str), ("seed", int)):
        if not isinstance(record.get(key), kind) or isinstance(record[key], bool):
            raise _refused("record", key, f"missing, or not {kind.__name__}")
    if not isinstance(record.get("group", ""), str):
        raise _refused("record", "group", "not a text")
    for key in ("metrics", "seconds"):
        _check_numbers(record.get(key), key)
    wanted = record.get("objective")
    if not isinstance(wanted, Mapping) or wanted.get("direction") not in ("max", "min"):
        raise _refused("record", "objective", "missing, or its direction neither max nor min")
    if not isinstance(wanted.get("metric"), str) or wanted["metric"] not in record["metrics"]:
        raise _refused("record", "objective.metric", "not among the metrics")
    return objective(record)


def objective(record: Mapping[str, Any]) -> Objective:
    """The objective of a record or a manifest."""
    return Objective(record["objective"]["metric"], record["objective"]["direction"])


def check_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags as they are stored, sorted by key.

    Raises:
        UsageError: a key is malformed, or a value is too long.
    """
    for key, value in tags.items():
        if not re.fullmatch(TAG, key):
            raise UsageError(f"{shown(key)} cannot be the key of a tag.", f"A key matches {TAG}.")
        if len(value) > LIMIT_TAG:
            raise UsageError(
                f"The value of the tag {key} has {len(value)} characters.",
                f"At most {LIMIT_TAG} are kept.",
            )
    return {key: as_unicode(tags[key]) for key in sorted(tags)}


def as_unicode(text: str) -> str:
    """`text` with the undecodable bytes of a command line escaped."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def build(version: Version, record: Mapping[str, Any]) -> bytes:
    """The manifest of a version; its digest, which follows from it, is not needed."""
    content = canonical(
        {
            **record,
            "schema": SCHEMA,
            "model": version.model,
            "version": version.version,
            "created": version.created,
            "run": version.run,
            "files": [{"path": f.path, "size": f.size, "sha256": f.sha256} for f in version.files],
        }
    )
    if len(content) > LIMIT_BYTES:
        raise _refused("record", "", f"more than {LIMIT_BYTES} bytes")
    return content


def parse(content: bytes, digest: str) -> tuple[Version, dict[str, Any]]:
    """A manifest whose digest was checked, and its version, without aliases.

    Raises:
        ValueError, KeyError, TypeError: it is not a manifest of this schema.
    """
    manifest = read_json(content)
    if manifest["schema"] != SCHEMA:
        raise ValueError(f"manifest schema {manifest['schema']}, not {SCHEMA}")
    version = Version(
        model=manifest["model"],
        version=manifest["version"],
        created=manifest["created"],
        dataset=manifest["dataset"],
        preset=manifest["preset"],
        seed=manifest["seed"],
        metrics=manifest["metrics"],
        seconds=manifest["seconds"],
        files=[FileRecord(f["path"], f["size"], f["sha256"]) for f in manifest["files"]],
        digest=digest,
        run=manifest["run"],
        group=manifest.get("group", ""),
    )
    return version, manifest


def origin_of(row: LedgerRow) -> Origin | None:
    """Where the version of a `registered` row was registered first; None where it was here."""
    return Origin.from_json(row.evidence.get("origin"))


def registered_by(row: LedgerRow, recorded: Version) -> Version | None:
    """The version that a `registered` row made of a manifest.

    The manifest of a copied version has the model and the number that the version was given first.

    Args:
        row: the row.
        recorded: the version that `parse` found in the manifest.

    Returns:
        None if the manifest is another version's.
    """
    origin = origin_of(row)
    first = (origin.model, origin.version) if origin else (row.model, row.version)
    if row.version is None or (recorded.model, recorded.version) != first:
        return None
    return replace(recorded, model=row.model, version=row.version, origin=origin)


def found(blobs: Objects, digest: str) -> tuple[Version, dict[str, Any]] | None:
    """The manifest in an object, as `parse` returns it; None if it is damaged or not a manifest."""
    content = blobs.read_small(digest, LIMIT_BYTES)
    if content is None or not content.startswith(b'{"'):
        return None
    try:
        return parse_strictly(content, digest)
    except (ValueError, KeyError, TypeError, PluginError):
        return None


def parse_strictly(content: bytes, digest: str) -> tuple[Version, dict[str, Any]]:
    """As `parse`, and only what `build` writes.

    Raises:
        ValueError, KeyError, TypeError, PluginError: mlreg would not have written it.
    """
    version, manifest = parse(content, digest)
    record = {key: value for key, value in manifest.items() if key not in _OURS}
    check_record(record)
    if content != build(version, record):
        raise ValueError("it is not what mlreg would have written")
    return version, manifest


def _inside(
    item: Mapping[Any, Any] | Sequence[Any], what: str, path: str
) -> Iterator[tuple[object, str]]:
    if isinstance(item, Mapping):
        for key, inner in item.items():
            if not isinstance(key, str):
                raise _refused(what, path, f"a key that is a {type(key).__name__}, not a text")
            place = f"{path}.{key}" if path else key
            yield inner, place
            yield key, place  # checked and counted like any other text
    else:
        for number, inner in enumerate(item):
            yield inner, f"{path}[{number}]"


def _check_text(text: str, what: str, path: str) -> None:
    if len(text) > LIMIT_BYTES:
        raise _refused(what, path, f"more than {LIMIT_BYTES} bytes")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise _refused(what, path, "a text that is not Unicode") from error


def _check_numbers(values: object, key: str) -> None:
    if not isinstance(values, Mapping):
        raise _refused("record", key, "missing, or not a mapping of names to numbers")
    for name, value in values.items():
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise _refused("record", f"{key}.{name}", f"a {type(value).__name__}, not a number")


def _refused(what: str, path: str, why: str) -> PluginError:
    place = f"{what}.{path}" if path else what
    # The end says which value it is; the beginning of a path 10,000 levels deep says nothing.
    place = place if len(place) <= 120 else f"…{place[-120:]}"
    return PluginError(
        f"{shown(place)[1:-1] if len(place) <= 64 else ascii(place)[1:-1]} is {why}.",
        f"A version's record is JSON with finite numbers, at most {LIMIT_DEPTH} levels deep and "
        f"{LIMIT_BYTES} bytes long.",
    )
