"""Checks of a dataset before training, and its description for the record.

NumPy loads when a split is checked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from registry_core.data.arrays import with_arrays
from registry_core.data.file_fingerprints import files_fingerprint
from registry_core.data.indexed import examples_digest
from registry_core.data.nesting import is_nested, named_parts, parts_of, same_nesting
from registry_core.data.read_splits import check_indexed, check_stream, check_told_apart
from registry_core.data.signature import signature
from registry_core.data.targets import check_targets, resolve_task
from registry_core.data.texts import check_texts, encoded, holds_texts
from registry_core.errors import DataError, is_unicode, safe_repr
from registry_core.types import (
    ArraySplit,
    DataSplits,
    IndexedSplit,
    Progress,
    SealedSplit,
    Split,
    StreamSplit,
)

if TYPE_CHECKING:
    import numpy as np


def check_splits(data: DataSplits) -> list[str]:
    """Check that a model can be trained on the splits, in one pass over the arrays.

    Returns:
        Warnings about what is allowed and probably a mistake.

    Raises:
        DataError: a split is empty, its lengths differ, its numbers are not finite, its dtype is
            neither numeric nor text, targets contradict the task, a weight is negative, or the
            splits do not fit together. It names the split, the field, the shape and the first
            bad index.
    """
    data = with_arrays(data)
    _check_words(data)
    splits = named_splits(data)
    for name, split in splits.items():
        if isinstance(split, StreamSplit):
            check_stream(name, split)
        elif isinstance(split, IndexedSplit):
            check_indexed(name, split)
        elif isinstance(split, ArraySplit):
            _check_arrays(name, split)
        else:
            raise DataError(
                f"The {name} split is {type(split).__qualname__}.",
                "A split is an ArraySplit, an IndexedSplit or a StreamSplit.",
            )
    task = resolve_task(data).task
    for name, split in splits.items():
        check_targets(name, split, task)
    _check_alike(splits)
    check_told_apart(splits)
    return _shared_examples(data)


def named_splits(data: DataSplits) -> dict[str, Split]:
    """The splits by name; without validation if it is the test split itself.

    A sealed test split is left out.
    """
    splits = {"train": data.train, "test": data.test}
    if isinstance(data.test, SealedSplit):
        del splits["test"]
    if data.validation is not None and data.validation is not data.test:
        splits["validation"] = data.validation
    return splits


def describe(data: DataSplits, progress: Progress | None = None) -> dict[str, Any]:
    """The dataset for a version's record: source, classes, task, and each split.

    A split has its number of `examples`, its `fingerprint`, and the shape and dtype of its
    `inputs` and `targets`, and of its `weights` if it has any; and its `class_weights` by number.

    Args:
        data: checked.
        progress: told how much is read, where files or examples are read for a fingerprint.
    """
    splits = {
        name: {
            "examples": len(split),
            "fingerprint": fingerprint(split, name, progress),
            **signature(split),
        }
        for name, split in named_splits(data).items()
    }
    for name, split in named_splits(data).items():
        if split.class_weights is not None:
            weights = split.class_weights.items()
            splits[name]["class_weights"] = {str(number): weight for number, weight in weights}
    if data.validation is data.test:
        splits["validation"] = splits["test"]
    task = data.task.to_json() if data.task else None
    names = list(data.class_names)
    return {"source": data.source, "class_names": names, "task": task, "splits": splits}


def fingerprint(split: Split, name: str = "test", progress: Progress | None = None) -> str:
    """What changes when any example changes: the split's own, or sha256 of files or examples.

    Args:
        split: checked.
        name: of the split, for errors and progress.
        progress: told how much is read.

    Texts count as their UTF-8 bytes, whatever dtype holds them. The parts of a nesting count with
    their names, and so do weights; a plain pair of arrays has none.

    Returns:
        `sha256:` and 64 hex digits; for a stream or an indexed split without `files`, what it
        says, if it does.

    Raises:
        DataError: a file or an example cannot be read.
    """
    if isinstance(split, StreamSplit | IndexedSplit):
        if split.files:
            part, examples = split.fingerprint, len(split)
            return files_fingerprint(split.files, part, examples, name, progress)
        if split.fingerprint or isinstance(split, StreamSplit):
            return split.fingerprint
        total = len(split)
        if progress is None:
            return examples_digest(split, name)
        progress.say(f"Hashing {total:,} {name} examples; fingerprint= or files= would spare this.")
        return examples_digest(split, name)
    import numpy as np

    digest = hashlib.sha256()
    for field, value in _fields(split):
        for name, array in named_parts(value, field):
            if is_nested(value) or field == "weights":
                digest.update(name.encode())
            if holds_texts(array):
                digest.update(f"string{array.shape}".encode())
                for text in encoded(array):
                    digest.update(len(text).to_bytes(8, "little") + text)
            else:
                digest.update(f"{array.dtype.str}{array.shape}".encode())
                digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return f"sha256:{digest.hexdigest()}"


def _fields(split: ArraySplit) -> list[tuple[str, Any]]:
    """The inputs, the targets, and the weights if there are any, each with its name."""
    fields = [("inputs", split.inputs), ("targets", split.targets)]
    return fields if split.weights is None else [*fields, ("weights", split.weights)]


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
    for field, value in _fields(split):
        for part, array in named_parts(value, f"{name} {field}"):
            _check_array(part, array, texts=field == "inputs")
            if len(array) != len(split):
                raise DataError(
                    f"The {name} split has {len(split)} inputs and {len(array)} {field}."
                    if not is_nested(split.inputs) and not is_nested(value)
                    else f"The {part} have {len(array)} examples, but the {name} split has "
                    f"{len(split)}.",
                    f"Every input needs one {field[:-1]}.",
                )
    if split.weights is not None:
        if is_nested(split.weights) and not same_nesting(split.weights, split.targets):
            raise DataError(
                f"The {name} weights are {_names(split.weights, 'weights')}, but the targets "
                f"{_names(split.targets, 'targets')}.",
                "Give one array of weights, or one for each of the targets, nested alike.",
            )
        for part, array in named_parts(split.weights, f"{name} weights"):
            _check_weights(part, array)
    if split.class_weights is not None and is_nested(split.targets):
        raise DataError(
            f"The {name} split has class_weights and several targets.",
            "Give weights instead: one number for each example, of any output.",
        )


def _check_array(name: str, array: np.ndarray, texts: bool) -> None:
    """Check one array on its own; `name` is that of the split, the field and the part."""
    import numpy as np

    if array.ndim == 0 or array.size == 0:
        raise DataError(
            f"The {name} are empty: shape {array.shape}.",
            "Every split needs at least one example.",
        )
    if texts and holds_texts(array):
        check_texts(array, name)
    elif array.dtype.kind not in "biuf":
        raise DataError(
            f"The {name} have dtype {array.dtype}.",
            "They must be numbers or texts." if texts else "They must be numbers.",
        )
    if array.dtype.kind == "f" and not np.isfinite(array.sum(dtype=np.float64)):
        # a finite sum needs one pass; the index is searched for only if it is not
        finite = np.isfinite(array).reshape(len(array), -1).all(axis=1)
        if not finite.all():
            raise DataError(
                f"The {name}, shape {array.shape}, are not all finite: "
                f"the first NaN or infinity is in example {int(np.argmin(finite))}.",
                "Remove these examples, or fill in the missing values.",
            )


def _check_weights(name: str, weights: np.ndarray) -> None:
    import numpy as np

    negative = (weights < 0).reshape(len(weights), -1).any(axis=1)
    if negative.any():
        raise DataError(
            f"The {name} are negative: the first is in example {int(np.argmax(negative))}.",
            "A weight multiplies the loss of an example; 0 leaves the example out.",
        )
    if not weights.any():
        raise DataError(f"The {name} are all 0.", "At least one example needs a weight above 0.")


def _check_alike(splits: Mapping[str, Split]) -> None:
    arrays = {name: split for name, split in splits.items() if isinstance(split, ArraySplit)}
    if "train" not in arrays:
        return
    train = arrays["train"]
    for name, split in arrays.items():
        for field in ("inputs", "targets"):
            ours, theirs = getattr(train, field), getattr(split, field)
            if not same_nesting(ours, theirs):
                raise DataError(
                    f"The train {field} are {_names(ours, field)}, "
                    f"the {name} {field} {_names(theirs, field)}.",
                    "The examples of all splits need the same parts.",
                )
            pairs = zip(named_parts(ours, field), parts_of(theirs), strict=True)
            for (part, first), second in pairs:
                if first.shape[1:] != second.shape[1:] or _kind(first) != _kind(second):
                    raise DataError(
                        f"The train {part} are {first.dtype} {first.shape}, "
                        f"the {name} {part} {second.dtype} {second.shape}.",
                        "The examples of all splits need the same shape and kind of dtype.",
                    )


def _names(value: Any, field: str) -> str:
    return ", ".join(name for name, _ in named_parts(value, field))


def _kind(array: np.ndarray) -> str:
    return "text" if holds_texts(array) else str(array.dtype.kind)


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
    """A digest of each example's inputs."""
    parts = [_rows(array) for array in parts_of(split.inputs)]
    for rows in zip(*parts, strict=True):
        digest = hashlib.blake2b(digest_size=16)
        for row in rows:
            digest.update(row)
        yield digest.digest()


def _rows(array: np.ndarray) -> Iterator[bytes]:
    """What each example has in an array, as bytes."""
    import numpy as np

    rows = np.ascontiguousarray(array).reshape(len(array), -1)
    if holds_texts(array):
        return (b"".join(len(t).to_bytes(8, "little") + t for t in encoded(row)) for row in rows)
    return (row.tobytes() for row in rows)
