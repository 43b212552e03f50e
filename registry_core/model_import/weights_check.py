"""The HDF5 file of a model's weights, checked without following a link or reading an array."""

from __future__ import annotations

import io
from collections.abc import Iterator
from math import prod
from typing import Any

from registry_core.model_import.archive_members import ArchivePart
from registry_core.model_import.refusals import WEIGHTS, malformed, reaches_outside, shorten

_LIMIT_HDF5_OBJECTS = 100_000
_LIMIT_ATTRIBUTE_BYTES = 1 << 16

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


def check_weights(stream: ArchivePart) -> int:
    """Check the HDF5 file of the weights without following a link or reading an array.

    Returns:
        The number of values in its arrays.

    Raises:
        RefusedError: the file refers to other files or programs.
        IntegrityError: Keras would not have written it like this.
    """
    import h5py  # NumPy loads here

    head = bytearray(len(HDF5_SIGNATURE))
    stream.readinto(head)
    if head != HDF5_SIGNATURE:
        raise malformed(f"has a {WEIGHTS} that is not HDF5")
    size = stream.seek(0, io.SEEK_END)
    numbers = stored = 0
    with h5py.File(stream, "r") as weights:
        for array in _arrays(weights):
            shape, width = array.shape, array.get_type().get_size()
            numbers += prod(shape)
            stored += prod(shape) * width
            if stored > size:
                raise malformed(f"has a {WEIGHTS} whose arrays are together larger than it is")
    return numbers


def _arrays(weights: Any) -> Iterator[Any]:
    """Every array of an open HDF5 file, checked, as a low-level h5py dataset."""
    from h5py import h5d, h5g, h5l, h5o

    root = h5g.open(weights.id, b"/")
    groups, seen = [root], {h5o.get_info(root).addr}
    while groups:
        group = groups.pop()
        _check_attributes(group)
        for name in group:
            where = shorten(name.decode("utf-8", "replace"))
            if group.links.get_info(name).type != h5l.TYPE_HARD:
                raise reaches_outside(f"{where} is a link to another place")
            info = h5o.get_info(group, name)
            if info.addr in seen:
                raise malformed(f"has a {WEIGHTS} in which {where} is there twice")
            seen.add(info.addr)
            if len(seen) > _LIMIT_HDF5_OBJECTS:
                raise malformed(f"has a {WEIGHTS} of more than {_LIMIT_HDF5_OBJECTS:,} objects")
            if info.type == h5o.TYPE_GROUP:
                groups.append(h5g.open(group, name))
            elif info.type == h5o.TYPE_DATASET:
                array = h5d.open(group, name)
                _check_attributes(array)
                _check_array(array, where)
                yield array
            else:
                raise malformed(f"has a {WEIGHTS} in which {where} is neither group nor array")


def _check_array(array: Any, where: str) -> None:
    """Check that every byte that an array declares is stored in the file itself."""
    from h5py import h5d, h5s, h5z

    made = array.get_create_plist()
    if made.get_external_count() or made.get_layout() == h5d.VIRTUAL:
        raise reaches_outside(f"the array {where} has its numbers in another file")
    filters = {made.get_filter(place)[0] for place in range(made.get_nfilters())}
    if filters - {h5z.FILTER_DEFLATE, h5z.FILTER_SHUFFLE, h5z.FILTER_FLETCHER32}:
        raise reaches_outside(f"the array {where} needs a filter, which is a program")
    _check_type(array, where)
    if array.get_space().get_simple_extent_type() == h5s.NULL:
        raise malformed(f"has a {WEIGHTS} in which {where} has no shape")
    declared, stored = prod(array.shape) * array.get_type().get_size(), array.get_storage_size()
    if declared > stored:
        raise malformed(
            f"has a {WEIGHTS} in which {where} declares {declared:,} bytes, shape "
            f"{shorten(array.shape)}, and stores {stored:,}"
        )
    if filters or made.get_layout() == h5d.CHUNKED:
        raise malformed(
            f"has a {WEIGHTS} in which {where} is chunked or compressed, which Keras never writes"
        )


def _check_type(array: Any, where: str) -> None:
    """Allow numbers, booleans and the opaque bytes of bfloat16; no references."""
    from h5py import h5t

    kind = array.get_type().get_class()
    if kind in (h5t.REFERENCE, h5t.VLEN, h5t.STRING):
        raise reaches_outside(f"the array {where} holds references or texts in place of numbers")
    numbers = kind in (h5t.INTEGER, h5t.FLOAT, h5t.ENUM, h5t.OPAQUE)
    if not numbers and array.dtype.kind != "c":
        raise malformed(f"has a {WEIGHTS} in which {where} does not hold numbers")


def _check_attributes(owner: Any) -> None:
    from h5py import h5a, h5t

    for place in range(h5a.get_num_attrs(owner)):
        attribute = h5a.open(owner, index=place)
        if attribute.get_type().get_class() in (h5t.REFERENCE, h5t.VLEN):
            raise reaches_outside("an attribute holds references")
        if attribute.get_storage_size() > _LIMIT_ATTRIBUTE_BYTES:
            raise malformed(f"has a {WEIGHTS} with an attribute of more than a few words")
