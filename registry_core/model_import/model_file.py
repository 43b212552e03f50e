"""What a `.keras` file from elsewhere holds, looked through before Keras opens it.

Keras's safe mode refuses what its authors have met; this refuses whatever Keras would not have
written of layers, losses and optimizers of its own. Nothing is unpacked, imported or built here:
the file is read as zip, JSON and HDF5, and no word in it is followed anywhere. Knows the format,
and neither Keras nor what the model is for.
"""

from __future__ import annotations

import builtins
import io
import json
import re
import stat
import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

from registry_core.errors import IntegrityError, MlregError, RefusedError

# the three files that every model has, with the most bytes that the text ones may have
_METADATA, _CONFIG, _WEIGHTS = "metadata.json", "config.json", "model.weights.h5"
_LIMIT_BYTES = {_METADATA: 1 << 16, _CONFIG: 16 << 20}
# what layers that look words up keep beside their weights
_VOCABULARY = re.compile(r"assets(/\w+)+/vocabulary\.txt", re.ASCII)
_LIMIT_MEMBERS = 1_000
_LIMIT_DEPTH = 200
_LIMIT_HDF5_OBJECTS = 100_000
_LIMIT_ATTRIBUTE_BYTES = 1 << 16
_CHUNK = 1 << 20

_ZIP, _HDF5 = b"PK\x03\x04", b"\x89HDF\r\n\x1a\n"

# Where Keras says that its own objects come from. Importing one of these reads no file and opens
# no connection, and what they have by the names of classes is layers, optimizers and their like.
_MODULES = {
    "keras",
    "keras._legacy.layers",
    "keras.activations",
    "keras.constraints",
    "keras.dtype_policies",
    "keras.initializers",
    "keras.layers",
    "keras.losses",
    "keras.metrics",
    "keras.models",
    "keras.optimizers",
    "keras.optimizers.schedules",
    "keras.quantizers",
    "keras.random",
    "keras.regularizers",
    "keras.src.activations.activations",
    "keras.src.applications.convnext",
    "keras.src.applications.inception_resnet_v2",
    "keras.src.models.functional",
    "keras.src.ops.core",
    "keras.src.ops.einops",
    "keras.src.ops.image",
    "keras.src.ops.linalg",
    "keras.src.ops.math",
    "keras.src.ops.nn",
    "keras.src.ops.numpy",
}
# A function is named and not called when a model is read; it is called when the model answers.
_FUNCTION_MODULES = {"builtins", "keras.activations", "keras.losses", "keras.metrics"}
_NO_FUNCTIONS = {"deserialize", "get", "serialize", *dir(builtins)}
_CODE = {
    "__lambda__": "code of its own",
    "Lambda": "code of its own",
    "FlaxLayer": "code of its own",
    "JaxLayer": "code of its own",
    "TFSMLayer": "a layer that runs a SavedModel from another file",
    "TorchModuleWrapper": "a pickled PyTorch module",
}
# What Keras writes for values that JSON has no word for
_VALUES = {"__bytes__", "__ellipsis__", "__keras_tensor__", "__numpy__", "__slice__", "__tensor__"}
# key of a configuration, or how it ends -> what the objects below it are
_KINDS = {
    "layers": "a layer",
    "layer": "a layer",
    "cell": "a layer",
    "activation": "an activation",
    "initializer": "an initializer",
    "regularizer": "a regularizer",
    "constraint": "a constraint",
    "loss": "a loss",
    "metrics": "a metric",
    "optimizer": "an optimizer",
    "rate": "a schedule",
    "dtype": "a dtype policy",
}
_NUMBER_TYPE = re.compile(
    r"bool|string|b?float\d{1,3}(_e\dm\d\w{0,4})?|u?int\d{1,3}|complex\d{1,3}"
)


@dataclass(frozen=True)
class ModelFile:
    """A `.keras` file that was looked through.

    Args:
        keras_version: which Keras wrote it, by its own account.
        numbers: how many numbers its weights and its optimizer's state hold.
    """

    keras_version: str
    numbers: int


def inspect(file: Path) -> ModelFile:
    """Refuse what Keras should not open. The file must not change between this and its loading.

    Args:
        file: a regular file, whatever its name.

    Raises:
        RefusedError: it wants to run code, or to reach for something outside itself.
        IntegrityError: it is no `.keras` file, or a damaged one, or one that unpacks to more than
            it is.
    """
    with file.open("rb") as stream:
        head = stream.read(len(_HDF5))
        if head == _HDF5:
            raise RefusedError(
                "The file is HDF5, Keras's legacy format, which can hold code and has no safe "
                "mode to speak of.",
                "Where it is trusted, convert it: keras.models.load_model('m.h5').save('m.keras').",
            )
        if head[:1] == b"\x80" and head[1:2] in (b"\2", b"\3", b"\4", b"\5"):
            raise _pickled()
        if not head.startswith(_ZIP):
            raise _broken("is not a .keras file: it is no zip archive")
        try:
            with zipfile.ZipFile(stream) as archive:
                return _inspect(archive, stream, file.stat().st_size)
        except MlregError:
            raise
        except Exception as error:
            # zipfile and h5py raise nearly anything where the bytes are not what they should be
            raise _broken(
                f"cannot be read: {_short(str(error) or type(error).__name__)}"
            ) from error


def _inspect(archive: zipfile.ZipFile, stream: BinaryIO, size: int) -> ModelFile:
    _check_generation(archive)
    members = _members(archive, size)
    metadata = _parsed(archive, members[_METADATA])
    version = metadata.get("keras_version") if isinstance(metadata, dict) else None
    if not isinstance(version, str) or not re.fullmatch(r"\d+\.\d+[\w.+-]{0,40}", version):
        raise _broken(f"does not say which Keras wrote it: keras_version is {_short(version)}")
    config = _parsed(archive, members[_CONFIG])
    if not isinstance(config, dict) or "class_name" not in config:
        raise _broken(f"has a {_CONFIG} that describes no model")
    _check_config(config)
    for member in members.values():
        if member.filename not in _LIMIT_BYTES:
            with archive.open(member) as content:  # raises at its end where the CRC is wrong
                while content.read(_CHUNK):
                    pass
    weights = members[_WEIGHTS]
    stream.seek(weights.header_offset)
    name_bytes, extra_bytes = struct.unpack("<26x2H", stream.read(30))
    start = weights.header_offset + 30 + name_bytes + extra_bytes
    return ModelFile(version, _check_weights(_Part(stream, start, weights.file_size)))


def _check_generation(archive: zipfile.ZipFile) -> None:
    """Refuse what Keras 2 wrote before looking at anything else: it looks odd in many ways."""
    info = next((each for each in archive.infolist() if each.filename == _METADATA), None)
    if info is None or max(info.file_size, info.compress_size) > _LIMIT_BYTES[_METADATA]:
        return  # which is told as what it is
    metadata = _parsed(archive, info)
    version = metadata.get("keras_version") if isinstance(metadata, dict) else None
    if isinstance(version, str) and re.fullmatch(r"[012]\.[\w.+-]{1,40}", version):
        raise RefusedError(
            f"The file was written by Keras {version[0]} ({version}): convert it.",
            "Where it is trusted: tf_keras.models.load_model('old.keras').save('old.h5'), then "
            "keras.models.load_model('old.h5', compile=False).save('new.keras').",
            "pip install tf_keras",
        )


# --- the archive --------------------------------------------------------------------------------


def _members(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """The archive's members by name, once all of them are what Keras writes.

    Keras writes them uncompressed, so that none can be larger than the file it is in.
    """
    infos = archive.infolist()
    if len(infos) > _LIMIT_MEMBERS:
        raise _broken(f"has {len(infos):,} members, and a model has three")
    members = {info.filename: info for info in infos}
    if len(members) != len(infos):
        raise _broken("has two members of one name")
    for name, info in members.items():
        if name.endswith((".pkl", ".pickle", ".pt", ".pth")):
            raise _pickled()
        known = name in (_METADATA, _CONFIG, _WEIGHTS) or _VOCABULARY.fullmatch(name)
        if not known and name.startswith("assets/") and ".." not in name.split("/"):
            raise RefusedError(
                f"The file brings an asset that no layer of Keras's own reads: {_short(name)}.",
                "Only the vocabularies of lookup layers are taken in beside weights.",
            )
        if not known:
            raise _broken(f"has a member that is no part of a model: {_short(name)}")
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            raise _broken(f"has {name} as a link, or as something else that is no file")
        if info.flag_bits & 0x1:
            raise _broken(f"has {name} encrypted")
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
            raise _broken(
                f"has {name} compressed, {info.compress_size:,} bytes for {info.file_size:,}, "
                "where Keras compresses nothing"
            )
        if info.file_size > _LIMIT_BYTES.get(name, size):
            raise _broken(f"has {name} with {info.file_size:,} bytes")
    if sum(info.file_size for info in infos) > size:
        raise _broken("has members that are together larger than it is")
    for name in (_METADATA, _CONFIG, _WEIGHTS):
        if name not in members:
            raise _broken(f"has no {name}")
    return members


def _parsed(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Any:
    with archive.open(member) as stream:
        content = stream.read()
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _broken(f"has a {member.filename} that is not JSON: {_short(str(error))}") from error


class _Part(io.RawIOBase):
    """A stretch of a file, as a file of its own."""

    def __init__(self, stream: BinaryIO, start: int, size: int) -> None:
        super().__init__()
        self._stream, self._start, self._size, self._place = stream, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._place = offset + (0, self._place, self._size)[whence]
        return self._place

    def readinto(self, buffer: Any) -> int:
        self._stream.seek(self._start + self._place)
        rest = max(0, self._size - self._place)
        content = self._stream.read(min(len(buffer), rest))
        buffer[: len(content)] = content
        self._place += len(content)
        return len(content)


# --- config.json --------------------------------------------------------------------------------


def _check_config(config: Any) -> None:
    """Look at every object that the configuration would make, however deep it lies."""
    stack: list[tuple[Any, int, str]] = [(config, 0, "a model")]
    while stack:
        item, depth, kind = stack.pop()
        if depth > _LIMIT_DEPTH:
            raise _broken(f"has a {_CONFIG} of more than {_LIMIT_DEPTH} levels")
        if isinstance(item, dict):
            if "class_name" in item:
                _check_object(item, kind)
            if isinstance(item.get("vocabulary"), str):
                raise RefusedError(
                    f"A layer would read its vocabulary from {_short(item['vocabulary'])}.",
                    "A model that is taken in brings its vocabulary itself: give the layer the "
                    "list, and save the model again.",
                )
        inner = item.items() if isinstance(item, dict) else (("", each) for each in item)
        stack.extend(
            (each, depth + 1, _kind(key) or kind)
            for key, each in inner
            if isinstance(each, dict | list)
        )


def _kind(key: str) -> str:
    """What an object below this key of a configuration is, in words; empty where that is open."""
    name = key.rpartition("_")[2]
    return _KINDS.get(key) or _KINDS.get(name) or ""


def _check_object(item: dict[str, Any], kind: str) -> None:
    name, module, config = item["class_name"], item.get("module"), item.get("config")
    if not isinstance(name, str):
        raise _broken(f"has a {_CONFIG} with an object whose class is {_short(name)}")
    if name in _CODE:
        raise RefusedError(
            f"The model holds {_CODE[name]}: {_short(name)}.",
            "Nothing of it was run. Put layers of Keras's own in its place, and save it again.",
        )
    if name in _VALUES and module is None:
        dtype = config.get("dtype") if isinstance(config, dict) else None
        if dtype is not None and not _NUMBER_TYPE.fullmatch(str(dtype)):
            raise _broken(f"has a value of the type {_short(dtype)}")
        return
    named = item.get("registered_name")
    if name == "function" and isinstance(config, str) and ">" in config:
        raise _own("a function" if kind == "a layer" else kind, config.rpartition(">")[2], config)
    if isinstance(named, str) and (module is None or ">" in named):
        raise _own(kind, name, named)
    if module is None:
        raise RefusedError(
            f"The model is written in a legacy form, which names {_short(name)} and no module.",
            "Where it is trusted, load it and save it again with Keras 3.",
        )
    if name == "function":
        good = (
            module in _FUNCTION_MODULES
            and isinstance(config, str)
            and config not in _NO_FUNCTIONS
            and re.fullmatch(r"[a-z]\w*", config)
            and named in (None, config, name)
        )
        name = config
    else:
        good = module in _MODULES and re.fullmatch(r"[A-Z]\w*", name) and named in (None, name)
    if not good:
        raise RefusedError(
            f"The model needs code that is not among Keras's own layers and functions: "
            f"{_short(name)} of {_short(module)}, registered as {_short(named)}.",
            "A file cannot bring code. Nothing of it was imported. A model with layers, losses or "
            "metrics of its own is made by a plugin, and by `mlreg run`.",
        )


def _own(kind: str, name: str, registered: str) -> RefusedError:
    """A layer, or something else, that Keras does not have and a program registered."""
    plain = name if re.fullmatch(r"\w{1,80}", name) else _short(name)
    return RefusedError(
        f"The model has {kind} of its own, {plain}, registered as {_short(registered)}.",
        f"A file cannot bring code, and none was imported. Put {plain} into a plugin, and train "
        "the model there, by `mlreg run`.",
    )


# --- model.weights.h5 ---------------------------------------------------------------------------


def _check_weights(stream: _Part) -> int:
    """Walk through the HDF5 file without following a link, or reading an array.

    Returns:
        How many numbers its arrays hold.
    """
    import h5py  # NumPy loads here

    head = bytearray(len(_HDF5))
    stream.readinto(head)
    if head != _HDF5:
        raise _broken(f"has a {_WEIGHTS} that is not HDF5")
    size = stream.seek(0, io.SEEK_END)
    numbers = stored = 0
    with h5py.File(stream, "r") as weights:
        for array in _arrays(weights):
            shape, width = array.shape, array.get_type().get_size()
            numbers += prod(shape)
            stored += prod(shape) * width
            if stored > size:
                raise _broken(f"has a {_WEIGHTS} whose arrays are together larger than it is")
    return numbers


def _arrays(weights: Any) -> Iterator[Any]:
    """Every array of an open HDF5 file, checked: h5py's low-level datasets."""
    from h5py import h5d, h5g, h5l, h5o

    root = h5g.open(weights.id, b"/")
    groups, seen = [root], {h5o.get_info(root).addr}
    while groups:
        group = groups.pop()
        _check_attributes(group)
        for name in group:
            where = _short(name.decode("utf-8", "replace"))
            if group.links.get_info(name).type != h5l.TYPE_HARD:
                raise _leads_out(f"{where} is a link to another place")
            info = h5o.get_info(group, name)
            if info.addr in seen:
                raise _broken(f"has a {_WEIGHTS} in which {where} is there twice")
            seen.add(info.addr)
            if len(seen) > _LIMIT_HDF5_OBJECTS:
                raise _broken(f"has a {_WEIGHTS} of more than {_LIMIT_HDF5_OBJECTS:,} objects")
            if info.type == h5o.TYPE_GROUP:
                groups.append(h5g.open(group, name))
            elif info.type == h5o.TYPE_DATASET:
                array = h5d.open(group, name)
                _check_attributes(array)
                _check_array(array, where)
                yield array
            else:
                raise _broken(f"has a {_WEIGHTS} in which {where} is neither group nor array")


def _check_array(array: Any, where: str) -> None:
    """Refuse an array that is not simply there: every byte it declares lies in the file."""
    from h5py import h5d, h5s, h5z

    made = array.get_create_plist()
    if made.get_external_count() or made.get_layout() == h5d.VIRTUAL:
        raise _leads_out(f"the array {where} has its numbers in another file")
    filters = {made.get_filter(place)[0] for place in range(made.get_nfilters())}
    if filters - {h5z.FILTER_DEFLATE, h5z.FILTER_SHUFFLE, h5z.FILTER_FLETCHER32}:
        raise _leads_out(f"the array {where} needs a filter that is a program of its own")
    _check_type(array, where)
    if array.get_space().get_simple_extent_type() == h5s.NULL:
        raise _broken(f"has a {_WEIGHTS} in which {where} has no shape")
    declared, stored = prod(array.shape) * array.get_type().get_size(), array.get_storage_size()
    if declared > stored:
        raise _broken(
            f"has a {_WEIGHTS} in which {where} declares {declared:,} bytes, shape "
            f"{_short(array.shape)}, and stores {stored:,}"
        )
    if filters or made.get_layout() == h5d.CHUNKED:
        raise _broken(
            f"has a {_WEIGHTS} in which {where} is in pieces or compressed, as Keras writes none"
        )


def _check_type(array: Any, where: str) -> None:
    """Numbers, truth values, and the opaque bytes of bfloat16; nothing that points elsewhere."""
    from h5py import h5t

    kind = array.get_type().get_class()
    if kind in (h5t.REFERENCE, h5t.VLEN, h5t.STRING):
        raise _leads_out(f"the array {where} holds references or texts in place of numbers")
    numbers = kind in (h5t.INTEGER, h5t.FLOAT, h5t.ENUM, h5t.OPAQUE)
    if not numbers and array.dtype.kind != "c":
        raise _broken(f"has a {_WEIGHTS} in which {where} does not hold numbers")


def _check_attributes(owner: Any) -> None:
    from h5py import h5a, h5t

    for place in range(h5a.get_num_attrs(owner)):
        attribute = h5a.open(owner, index=place)
        if attribute.get_type().get_class() in (h5t.REFERENCE, h5t.VLEN):
            raise _leads_out("an attribute holds references")
        if attribute.get_storage_size() > _LIMIT_ATTRIBUTE_BYTES:
            raise _broken(f"has a {_WEIGHTS} with an attribute of more than a few words")


# --- saying no ----------------------------------------------------------------------------------


def _short(value: object) -> str:
    """A value out of the file, as far as a line of text has room for it."""
    return f"{value!r:.80}" if not isinstance(value, str) else f"'{value:.80}'"


def _broken(how: str) -> IntegrityError:
    return IntegrityError(
        f"The file {how}.",
        "Nothing of it was used. A model is taken in as model.save('model.keras') wrote it.",
    )


def _leads_out(how: str) -> RefusedError:
    return RefusedError(
        f"The file's {_WEIGHTS} reaches outside itself: {how}.",
        "Nothing of it was followed. A model is taken in as model.save('model.keras') wrote it.",
    )


def _pickled() -> RefusedError:
    return RefusedError(
        "The file is a pickle, or holds one: reading it would run whatever it says.",
        "Build the model with Keras where it is trusted, and save it as .keras.",
    )
