"""Checks of a dataset before training, and its description for the record.

NumPy loads when a split is checked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry_core.data.file_fingerprints import files_fingerprint
from registry_core.data.indexed import examples_digest, is_function, read_example
from registry_core.data.signature import signature
from registry_core.errors import DataError, is_unicode, safe_repr
from registry_core.types import (
    ArraySplit,
    DataSplits,
    IndexedSplit,
    Progress,
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
            not numeric, a label is not a class, or the splits do not fit together. It names the
            split, the field, the shape and the first bad index.
    """
    _check_words(data)
    splits = named_splits(data)
    for name, split in splits.items():
        if isinstance(split, StreamSplit):
            _check_stream(name, split)
        elif isinstance(split, IndexedSplit):
            _check_indexed(name, split)
        elif isinstance(split, ArraySplit):
            _check_arrays(name, split, data.class_names)
        else:
            raise DataError(
                f"The {name} split is {type(split).__qualname__}.",
                "A split is an ArraySplit, an IndexedSplit or a StreamSplit.",
            )
    _check_alike(splits)
    return _shared_examples(data)


def named_splits(data: DataSplits) -> dict[str, Split]:
    """The splits by name; without validation if it is the test split itself."""
    splits = {"train": data.train, "test": data.test}
    if data.validation is not None and data.validation is not data.test:
        splits["validation"] = data.validation
    return splits


def describe(data: DataSplits, progress: Progress | None = None) -> dict[str, Any]:
    """The dataset for a version's record: source, classes, and each split.

    A split has its number of `examples`, its `fingerprint`, and the shape and dtype of its
    `inputs` and `targets`.

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
    if data.validation is data.test:
        splits["validation"] = splits["test"]
    return {"source": data.source, "class_names": list(data.class_names), "splits": splits}


def fingerprint(split: Split, name: str = "test", progress: Progress | None = None) -> str:
    """What changes when any example changes: the split's own, or sha256 of files or examples.

    Args:
        split: checked.
        name: of the split, for errors and progress.
        progress: told how much is read.

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


def _check_arrays(name: str, split: ArraySplit, class_names: Sequence[str]) -> None:
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
    if class_names:
        _check_labels(name, split.targets, class_names)


def _check_labels(name: str, targets: np.ndarray, class_names: Sequence[str]) -> None:
    import numpy as np

    classes = len(class_names)
    if targets.ndim == 2 and targets.shape[1] == classes and classes > 1:
        return  # one column for each class
    if targets.ndim > 2 or (targets.ndim == 2 and targets.shape[1] != 1):
        raise DataError(
            f"The {name} targets have shape {targets.shape}.",
            f"With {classes} class names they must be (examples,) class numbers, "
            f"or (examples, {classes}).",
        )
    if targets.dtype.kind not in "biu":
        raise DataError(
            f"The {name} targets have dtype {targets.dtype}.",
            "With class names they must be integer class numbers, from 0.",
        )
    flat = targets.reshape(-1)
    wrong = (flat < 0) | (flat >= classes)
    if wrong.any():
        first = int(np.argmax(wrong))
        raise DataError(
            f"The {name} targets, shape {targets.shape}, are out of range: "
            f"example {first} has label {int(flat[first])}.",
            f"There are {classes} class names, so labels go from 0 to {classes - 1}.",
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
    _check_fingerprint(name, split)
    if split.shuffle is not None and (not isinstance(split.shuffle, int) or split.shuffle < 1):
        raise DataError(
            f"The {name} stream has shuffle={safe_repr(split.shuffle)}.",
            "It is the number of examples in the window: 1 or more, or None.",
        )


def _check_indexed(name: str, split: IndexedSplit) -> None:
    function = is_function(split)
    if function and not callable(split.source):
        raise DataError(
            f"The source of the {name} split is {type(split.source).__qualname__}.",
            "It must have __len__ and __getitem__(index), or be a function of an index.",
        )
    if function and split.examples is None:
        raise DataError(
            f"The source of the {name} split is a function, and examples= is missing.",
            "Set the number of its examples: examples=…",
        )
    try:
        available = None if function else len(split.source)
    except Exception as error:
        raise DataError(
            f"The source of the {name} split has no length: {type(error).__qualname__}.",
            "It must have __len__ and __getitem__(index).",
        ) from error
    examples = available if split.examples is None else split.examples
    if not isinstance(examples, int) or examples <= 0:
        raise DataError(
            f"The {name} split says it has {safe_repr(examples)} examples.",
            "Every split needs at least one example.",
        )
    if available is not None and examples > available:
        raise DataError(
            f"The source of the {name} split has {available} examples, and examples={examples}.",
            "Leave examples= out, or set a smaller number.",
        )
    _check_fingerprint(name, split)
    if not function:
        read_example(split, 0, name)


def _check_fingerprint(name: str, split: StreamSplit | IndexedSplit) -> None:
    noun = f"{name} {'stream' if isinstance(split, StreamSplit) else 'split'}"
    if isinstance(split.files, str | Path) or not isinstance(split.files, Sequence):
        raise DataError(
            f"The {noun} has files={safe_repr(split.files)}.", "It must be a list of paths."
        )
    hashed = isinstance(split, IndexedSplit) and not is_function(split)
    needed = not (split.files or hashed)
    if not isinstance(split.fingerprint, str) or (needed and not split.fingerprint):
        raise DataError(
            f"The {noun} has no fingerprint.",
            "Set files=[…] to the files that it is read from, or fingerprint=… to a text that "
            "changes when the examples change.",
        )
    if not is_unicode(split.fingerprint):
        raise DataError(
            f"The {noun}'s fingerprint is not valid Unicode: {safe_repr(split.fingerprint)}.",
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
