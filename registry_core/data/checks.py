"""Checks of a dataset before training, and its description for the record.

NumPy loads when a split is checked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from registry_core.data.signature import signature
from registry_core.data.targets import check_targets, resolve_task
from registry_core.errors import DataError, is_unicode, safe_repr
from registry_core.types import ArraySplit, DataSplits, Split, StreamSplit


def check_splits(data: DataSplits) -> list[str]:
    """Check that a model can be trained on the splits, in one pass over the arrays.

    Returns:
        Warnings about what is allowed and probably a mistake.

    Raises:
        DataError: a split is empty, its lengths differ, its numbers are not finite, its dtype is
            not numeric, targets contradict the task, or the splits do not fit together. It names
            the split, the field, the shape and the first bad index.
    """
    _check_words(data)
    splits = named_splits(data)
    for name, split in splits.items():
        if isinstance(split, StreamSplit):
            _check_stream(name, split)
        elif isinstance(split, ArraySplit):
            _check_arrays(name, split)
        else:
            raise DataError(
                f"The {name} split is {type(split).__qualname__}.",
                "A split is an ArraySplit or a StreamSplit.",
            )
    task = resolve_task(data).task
    for name, split in splits.items():
        check_targets(name, split, task)
    _check_alike(splits)
    return _shared_examples(data)


def named_splits(data: DataSplits) -> dict[str, Split]:
    """The splits by name; without validation if it is the test split itself."""
    splits = {"train": data.train, "test": data.test}
    if data.validation is not None and data.validation is not data.test:
        splits["validation"] = data.validation
    return splits


def describe(data: DataSplits) -> dict[str, Any]:
    """The dataset for a version's record: source, classes, task, and each split.

    A split has its number of `examples`, its `fingerprint`, and the shape and dtype of its
    `inputs` and `targets`.
    """
    splits = {
        name: {"examples": len(split), "fingerprint": fingerprint(split), **signature(split)}
        for name, split in named_splits(data).items()
    }
    if data.validation is data.test:
        splits["validation"] = splits["test"]
    task = data.task.to_json() if data.task else None
    names = list(data.class_names)
    return {"source": data.source, "class_names": names, "task": task, "splits": splits}


def fingerprint(split: Split) -> str:
    """What changes when any example changes: a stream's own, or sha256 of dtypes, shapes, bytes.

    Returns:
        `sha256:` and 64 hex digits for arrays; what the stream says for a stream.
    """
    if isinstance(split, StreamSplit):
        return split.fingerprint
    import numpy as np

    digest = hashlib.sha256()
    for array in (split.inputs, split.targets):
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return f"sha256:{digest.hexdigest()}"


def steps(examples: int, batch_size: int) -> int:
    """The number of batches for this many examples; the last batch may be smaller."""
    return -(-examples // batch_size)


def _check_words(data: DataSplits) -> None:
    """Check the texts that the version's record needs, before training and not after it."""
    names = data.class_names
    listed = isinstance(names, Sequence) and not isinstance(names, str)
    if not listed or not all(isinstance(name, str) for name in names):
        raise DataError(
            f"class_names is {type(names).__qualname__}: {safe_repr(names)}.",
            "It must be a list of texts, one for each class, in the order of the class numbers.",
        )
    if not isinstance(data.source, str):
        raise DataError(
            f"source is {type(data.source).__qualname__}: {safe_repr(data.source)}.",
            "It must be a text that says where the data came from.",
        )
    for word in (*names, data.source):
        if not is_unicode(word):
            raise DataError(
                f"{'source' if word is data.source else 'A class name'} is not valid Unicode: "
                f"{safe_repr(word)}.",
                "It contains a lone surrogate, which a file cannot store. Decode it as UTF-8.",
            )


def _check_arrays(name: str, split: ArraySplit) -> None:
    import numpy as np

    for field, array in (("inputs", split.inputs), ("targets", split.targets)):
        if not isinstance(array, np.ndarray):
            raise DataError(
                f"The {name} {field} are {type(array).__qualname__}, not a NumPy array.",
                "An ArraySplit has NumPy arrays; a StreamSplit has a tf.data dataset.",
            )
        if array.ndim == 0 or array.size == 0:
            raise DataError(
                f"The {name} {field} are empty: shape {array.shape}.",
                "Every split needs at least one example.",
            )
        if array.dtype.kind not in "biuf" and not (field == "inputs" and array.dtype.kind in "US"):
            raise DataError(
                f"The {name} {field} have dtype {array.dtype}.", "They must be numbers."
            )
        if array.dtype.kind == "f" and not np.isfinite(array.sum(dtype=np.float64)):
            # a finite sum needs one pass; the index is searched for only if it is not
            finite = np.isfinite(array).reshape(len(array), -1).all(axis=1)
            if not finite.all():
                raise DataError(
                    f"The {name} {field}, shape {array.shape}, are not all finite: "
                    f"the first NaN or infinity is in example {int(np.argmin(finite))}.",
                    "Remove these examples, or fill in the missing values.",
                )
    if len(split.inputs) != len(split.targets):
        raise DataError(
            f"The {name} split has {len(split.inputs)} inputs and {len(split.targets)} targets.",
            "Every input needs one target.",
        )


def _check_stream(name: str, split: StreamSplit) -> None:
    if not isinstance(split.examples, int) or split.examples <= 0:
        raise DataError(
            f"The {name} stream says it has {safe_repr(split.examples)} examples.",
            "A StreamSplit needs the number of its examples: examples=…",
        )
    cardinality = int(split.dataset.cardinality())  # -1 is infinite, -2 is unknown
    if cardinality >= 0 and cardinality != split.examples:
        raise DataError(
            f"The {name} stream yields {cardinality} examples, and examples={split.examples}.",
            f"Set the right number: examples={cardinality}; or cut the stream: dataset.take(…).",
        )
    if not isinstance(split.fingerprint, str) or not split.fingerprint:
        raise DataError(
            f"The {name} stream has no fingerprint.",
            "Set a text that changes when the examples change: fingerprint=…",
        )
    if not is_unicode(split.fingerprint):
        shown = safe_repr(split.fingerprint)
        raise DataError(
            f"The {name} stream's fingerprint is not valid Unicode: {shown}.",
            "Set a digest in hex, or another plain text.",
        )


def _check_alike(splits: Mapping[str, Split]) -> None:
    arrays = {name: split for name, split in splits.items() if isinstance(split, ArraySplit)}
    if "train" not in arrays:
        return
    train = arrays["train"]
    for name, split in arrays.items():
        for field in ("inputs", "targets"):
            ours, theirs = getattr(train, field), getattr(split, field)
            if ours.shape[1:] != theirs.shape[1:] or ours.dtype.kind != theirs.dtype.kind:
                raise DataError(
                    f"The train {field} are {ours.dtype} {ours.shape}, "
                    f"the {name} {field} {theirs.dtype} {theirs.shape}.",
                    "The examples of all splits need the same shape and kind of dtype.",
                )


def _shared_examples(data: DataSplits) -> list[str]:
    warnings: list[str] = []
    splits = {name: s for name, s in named_splits(data).items() if isinstance(s, ArraySplit)}
    if "train" not in splits:
        return warnings
    seen = set(_example_digests(splits.pop("train")))
    for name, split in splits.items():
        shared = sum(digest in seen for digest in _example_digests(split))
        if shared:
            warnings.append(
                f"{shared} of {len(split)} {name} examples are also in the training split: "
                "metrics on them do not show how the model does on unseen examples"
            )
    return warnings


def _example_digests(split: ArraySplit) -> Iterator[bytes]:
    import numpy as np

    rows = np.ascontiguousarray(split.inputs).reshape(len(split.inputs), -1)
    return (hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in rows)
