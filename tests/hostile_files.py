"""Model files that want more than to be a model, made for real, and what would notice them.

Each differs in one thing from a sound file, which `sound` writes without TensorFlow.
"""

from __future__ import annotations

import base64
import io
import json
import marshal
import os
import pickle
import socket
import stat
import struct
import threading
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from registry_core.model_import import Limits
from registry_core.model_import.model_file import inspect

METADATA = {"keras_version": "3.15.1", "date_saved": "2026-03-05@09:14:00"}


@dataclass
class Canary:
    """What a hostile file reaches for: a file, a folder, and a port of this machine."""

    folder: Path
    port: int
    connections: list[Any] = field(default_factory=list)

    @property
    def file(self) -> Path:
        return self.folder / "secret.txt"

    @property
    def touched(self) -> Path:
        """Appears when code runs."""
        return self.folder / "touched"

    def code(self) -> str:
        """An expression that runs where it should not."""
        return f"open({str(self.touched)!r}, 'w').close()"

    def assert_untouched(self) -> None:
        assert [path.name for path in self.folder.iterdir()] == ["secret.txt"]
        assert self.file.read_text() == "a word\n"
        assert self.connections == []


@contextmanager
def canary(folder: Path) -> Iterator[Canary]:
    """A folder with one file, and a server that remembers who called."""
    folder.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as server:
        watched = Canary(folder, server.getsockname()[1])
        watched.file.write_text("a word\n")

        def accept() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return  # closed: the test is over
                watched.connections.append(connection)

        threading.Thread(target=accept, daemon=True).start()
        yield watched
        server.shutdown(socket.SHUT_RDWR)


# --- a sound file, and how it is made ---------------------------------------------------------


def keras_object(name: str, config: Any, module: str | None = "keras.layers", **more: Any) -> dict:
    return {"module": module, "class_name": name, "config": config, "registered_name": None} | more


def function(name: str, module: str) -> dict:
    return keras_object("function", name, module, registered_name=name)


def dense(**changes: Any) -> dict:
    """A layer that makes three probabilities of two numbers."""
    config = {"name": "dense", "units": 3, "activation": "softmax", "use_bias": True}
    return keras_object("Dense", config | changes, build_config={"input_shape": [None, 2]})


def model(*layers: dict, **more: Any) -> dict:
    entry = keras_object("InputLayer", {"batch_shape": [None, 2], "dtype": "float32", "name": "in"})
    config = {"name": "model", "layers": [entry, *(layers or [dense()])]}
    return keras_object("Sequential", config, "keras", **more)


def weights(change: Callable[[h5py.File], object] = lambda file: None) -> bytes:
    """The sound model's weights as HDF5, and something else with them."""
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        variables = file.create_group("layers/dense/vars")
        variables["0"] = np.arange(6, dtype="float32").reshape(2, 3)
        variables["1"] = np.zeros(3, "float32")
        change(file)
    return content.getvalue()


def members(config: Any = None, hdf5: bytes | None = None) -> dict[str, bytes]:
    return {
        "metadata.json": json.dumps(METADATA).encode(),
        "config.json": json.dumps(model() if config is None else config).encode(),
        "model.weights.h5": weights() if hdf5 is None else hdf5,
    }


def archive(
    file: Path,
    content: Mapping[str, bytes],
    extra: Callable[[zipfile.ZipFile], object] = lambda archive: None,
) -> None:
    with zipfile.ZipFile(file, "w") as made:
        for name, data in content.items():
            made.writestr(name, data)
        extra(made)


def sound(file: Path) -> Path:
    """A model that every reader takes: two numbers in, three probabilities out."""
    archive(file, members())
    return file


# --- the hostile ones ---------------------------------------------------------------------------

Make = Callable[[Path, Canary], None]
# name -> exit status, and how it is made
HOSTILE: dict[str, tuple[int, Make]] = {}


def hostile(status: int) -> Callable[[Make], Make]:
    def keep(make: Make) -> Make:
        HOSTILE[make.__name__.strip("_").replace("_", "-")] = status, make
        return make

    return keep


def with_config(status: int, name: str, config: Callable[[Canary], Any]) -> None:
    HOSTILE[name] = status, lambda file, canary: archive(file, members(config(canary)))


def with_weights(status: int, name: str, change: Callable[[h5py.File, Canary], object]) -> None:
    HOSTILE[name] = (
        status,
        lambda file, canary: archive(file, members(hdf5=weights(lambda h5: change(h5, canary)))),
    )


def with_member(status: int, name: str, member: str | zipfile.ZipInfo, data: bytes = b"") -> None:
    HOSTILE[name] = (
        status,
        lambda file, _: archive(file, members(), lambda made: made.writestr(member, data)),
    )


def without(status: int, member: str) -> None:
    def make(file: Path, _: Canary) -> None:
        archive(file, {name: data for name, data in members().items() if name != member})

    HOSTILE[f"no-{member}"] = status, make


def _lambda(canary: Canary) -> dict:
    """A function as Keras stores it, in its layers or by itself: marshalled byte code."""
    code = eval(f"lambda x: [{canary.code()}, x][1]").__code__
    stored = base64.b64encode(marshal.dumps(code)).decode()
    parts = {"code": stored, "defaults": None, "closure": None}
    return {"class_name": "__lambda__", "config": parts | {"value": list(parts.values())}}


# code and other files, named by the configuration
with_config(
    9,
    "lambda-layer",
    lambda c: model(dense(), keras_object("Lambda", {"name": "l", "function": _lambda(c)})),
)
with_config(9, "lambda-activation", lambda c: model(dense(activation=_lambda(c))))
with_config(9, "lambda-loss", lambda c: model(compile_config={"loss": _lambda(c)}))
with_config(
    9,
    "lambda-by-its-inner-module",
    lambda c: model(
        keras_object("Lambda", {"function": _lambda(c)}, "keras.src.layers.core.lambda_layer")
    ),
)
with_config(
    9,
    "savedmodel-layer",
    lambda c: model(keras_object("TFSMLayer", {"filepath": str(c.folder), "name": "s"})),
)
with_config(
    9,
    "torch-layer",
    lambda c: model(keras_object("TorchModuleWrapper", {"module": "gASVAAAA", "name": "t"})),
)
with_config(9, "jax-layer", lambda c: model(keras_object("JaxLayer", {"call_fn": _lambda(c)})))
with_config(
    9,
    "os-system",
    lambda c: model(dense(activation=function("system", "os"))),
)
with_config(
    9,
    "subprocess-class",
    lambda c: model(keras_object("Popen", {"args": ["touch", str(c.touched)]}, "subprocess")),
)
with_config(9, "builtin-eval", lambda c: model(dense(activation=function("eval", "builtins"))))
with_config(9, "get-file", lambda c: model(dense(activation=function("get_file", "keras.utils"))))
with_config(
    9,
    "load-model",
    lambda c: model(dense(activation=function("load_model", "keras.models"))),
)
with_config(
    9,
    "unsafe-mode-on",
    lambda c: model(
        keras_object("function", "enable_unsafe_deserialization", "keras.config"), dense()
    ),
)
with_config(
    9,
    "unsafe-mode-on-as-a-class",
    lambda c: model(keras_object("enable_unsafe_deserialization", {}, "keras.config"), dense()),
)
with_config(
    9,
    "custom-layer",
    lambda c: model(keras_object("Own", {}, "own_layers", registered_name="Custom>Own")),
)
with_config(
    9,
    "registered-under-another-name",
    lambda c: model(dense() | {"registered_name": "Custom>Dense"}),
)
with_config(9, "no-module", lambda c: model({"class_name": "Dense", "config": {"units": 3}}))
with_config(
    9,
    "typespec",
    lambda c: model(
        dense(spec={"class_name": "__typespec__", "spec_name": "S", "module": "os", "config": []})
    ),
)
with_config(
    9,
    "vocabulary-file",
    lambda c: model(keras_object("StringLookup", {"name": "s", "vocabulary": str(c.file)})),
)
with_config(
    9,
    "vocabulary-address",
    lambda c: model(
        keras_object(
            "TextVectorization", {"name": "t", "vocabulary": f"http://127.0.0.1:{c.port}/v"}
        )
    ),
)
with_config(
    6,
    "value-of-a-gigabyte",
    lambda c: model(
        dense(
            value={
                "class_name": "__numpy__",
                "config": {"value": ["a"] * 1000, "dtype": "S1000000000"},
            }
        )
    ),
)
with_config(6, "no-model", lambda c: [1, 2, 3])
with_config(6, "class-is-a-list", lambda c: model(dense() | {"class_name": ["Dense"]}))


@hostile(6)
def deep_config(file: Path, _: Canary) -> None:
    archive(file, members() | {"config.json": b'{"a":' * 100_000 + b"1" + b"}" * 100_000})


@hostile(6)
def deep_but_parsable_config(file: Path, _: Canary) -> None:
    nested: Any = []
    for _level in range(400):
        nested = [nested]
    archive(file, members(model(dense(nested=nested))))


@hostile(6)
def config_is_not_json(file: Path, _: Canary) -> None:
    archive(file, members() | {"config.json": b"{'class_name': 'Sequential'}"})


@hostile(6)
def no_version(file: Path, _: Canary) -> None:
    archive(file, members() | {"metadata.json": b'{"date_saved": "today"}'})


# other formats
@hostile(9)
def legacy_hdf5(file: Path, canary: Canary) -> None:
    with h5py.File(file, "w") as made:
        layer = keras_object("Lambda", {"function": _lambda(canary)})
        made.attrs["model_config"] = json.dumps(model(layer))


class _Runs:
    def __init__(self, code: str) -> None:
        self._code = code

    def __reduce__(self) -> tuple[Any, ...]:
        return eval, (self._code,)


@hostile(9)
def pickled(file: Path, canary: Canary) -> None:
    file.write_bytes(pickle.dumps(_Runs(canary.code())))


@hostile(9)
def torch_archive(file: Path, canary: Canary) -> None:
    archive(file, {"archive/data.pkl": pickle.dumps(_Runs(canary.code()), 2)})


@hostile(9)
def savedmodel_folder(file: Path, _: Canary) -> None:
    file.mkdir()
    (file / "saved_model.pb").write_bytes(b"\x08\x01")


@hostile(6)
def empty(file: Path, _: Canary) -> None:
    file.touch()


@hostile(6)
def words(file: Path, _: Canary) -> None:
    file.write_text("model: yes, please\n")


# HDF5 that reaches outside, or unpacks to more than it is
with_weights(
    9,
    "external-link",
    lambda h5, c: h5.__setitem__("layers/x", h5py.ExternalLink(str(c.file), "/")),
)
with_weights(9, "soft-link", lambda h5, c: h5.__setitem__("layers/x", h5py.SoftLink("/layers")))


def _external(h5: h5py.File, canary: Canary) -> None:
    h5.create_dataset("x", (1000,), "u1", external=[(str(canary.file), 0, 1000)])


def _virtual(h5: h5py.File, canary: Canary) -> None:
    layout = h5py.VirtualLayout((100,), "f4")
    layout[:] = h5py.VirtualSource(str(canary.file), "x", (100,))
    h5.create_virtual_dataset("x", layout)


def _references(h5: h5py.File, _: Canary) -> None:
    h5.create_dataset("x", (1,), h5py.ref_dtype)[0] = h5["layers"].ref


def _reference_in_an_attribute(h5: h5py.File, _: Canary) -> None:
    h5["layers"].attrs.create("name", h5["layers"].ref, dtype=h5py.ref_dtype)


def _cycle(h5: h5py.File, _: Canary) -> None:
    h5["layers/dense/again"] = h5["layers"]


with_weights(9, "external-storage", _external)
with_weights(9, "virtual-array", _virtual)
with_weights(9, "references", _references)
with_weights(9, "reference-in-an-attribute", _reference_in_an_attribute)
with_weights(
    9,
    "arrays-of-any-length",
    lambda h5, c: h5.create_dataset("x", (3,), h5py.vlen_dtype("f4")),
)
with_weights(9, "texts", lambda h5, c: h5.create_dataset("x", (3,), h5py.string_dtype()))
with_weights(
    9,
    "filter-of-its-own",
    lambda h5, c: h5.create_dataset("x", data=np.zeros(1000), compression="lzf"),
)
with_weights(
    6,
    "shape-bomb",
    lambda h5, c: h5.create_dataset("x", (10**12,), "f4", chunks=(1024,)),
)
with_weights(6, "unwritten-array", lambda h5, c: h5.create_dataset("x", (10**12,), "f4"))
with_weights(
    6,
    "compressed-array",
    lambda h5, c: h5.create_dataset("x", data=np.zeros(10**7, "u1"), compression="gzip"),
)
with_weights(6, "group-in-itself", _cycle)
with_weights(6, "array-without-a-shape", lambda h5, c: h5.__setitem__("x", h5py.Empty("f4")))
with_weights(6, "named-type", lambda h5, c: h5.__setitem__("x", np.dtype("f8")))
with_weights(
    6,
    "compound-array",
    lambda h5, c: h5.create_dataset("x", data=np.zeros(2, [("a", "f4"), ("b", "i8")])),
)


@hostile(6)
def weights_are_not_hdf5(file: Path, _: Canary) -> None:
    archive(file, members(hdf5=b"not HDF5 at all"))


@hostile(6)
def weights_are_cut_off(file: Path, _: Canary) -> None:
    archive(file, members(hdf5=weights()[:-500]))


@hostile(6)
def weights_behind_a_user_block(file: Path, _: Canary) -> None:
    archive(file, members(hdf5=b"\0" * 512 + weights()))


# archives
@hostile(6)
def zip_bomb(file: Path, _: Canary) -> None:
    """A gigabyte of zeros in a megabyte."""

    def pour(made: zipfile.ZipFile) -> None:
        info = zipfile.ZipInfo("assets/layers/lookup/vocabulary.txt")
        info.compress_type = zipfile.ZIP_DEFLATED
        with made.open(info, "w") as stream:
            for _ in range(256):
                stream.write(bytes(4 << 20))

    archive(file, members(), pour)


@hostile(6)
def zip_bomb_that_lies(file: Path, canary: Canary) -> None:
    """The same, and its headers state a size of ten bytes, stored."""
    zip_bomb(file, canary)
    content = bytearray(file.read_bytes())
    name = b"assets/layers/lookup/vocabulary.txt"
    local, central = content.find(name) - 30, content.rfind(name) - 46
    for place, method in ((local, 8), (central, 10)):
        struct.pack_into("<H", content, place + method, zipfile.ZIP_STORED)
    struct.pack_into("<II", content, central + 20, 10, 10)
    file.write_bytes(content)


@hostile(6)
def members_that_overlap(file: Path, _: Canary) -> None:
    """Each of two names is given the whole file."""
    archive(file, members() | {"assets/a/vocabulary.txt": b"one\n"})
    content = bytearray(file.read_bytes())
    central = content.rfind(b"assets/a/vocabulary.txt") - 46
    struct.pack_into("<II", content, central + 20, len(content) - 10, len(content) - 10)
    file.write_bytes(content)


with_member(6, "parent-folder", "../outside.txt", b"out")
with_member(6, "parent-folder-in-assets", "assets/../../outside.txt", b"out")
with_member(6, "absolute-path", "/tmp/outside.txt", b"out")
with_member(6, "drive-letter", "C:\\outside.txt", b"out")
with_member(6, "backslashes", "assets\\..\\outside.txt", b"out")
with_member(6, "unknown-member", "readme.md", b"hello")
with_member(9, "foreign-asset", "assets/layers/own/tokenizer.model", b"asset")


def _link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


with_member(6, "link", _link("assets/layers/lookup/vocabulary.txt"), b"/etc/passwd")


@hostile(6)
def weights_are_a_link(file: Path, canary: Canary) -> None:
    with zipfile.ZipFile(file, "w") as made:
        for name, data in members().items():
            link = name == "model.weights.h5"
            made.writestr(_link(name) if link else name, os.fsencode(canary.file) if link else data)


@hostile(6)
def two_of_one_name(file: Path, canary: Canary) -> None:
    """A reader that takes the first sees another model than one that takes the last."""
    evil = model(keras_object("Lambda", {"function": _lambda(canary)}))
    archive(file, {"config.json": json.dumps(evil).encode()})
    with zipfile.ZipFile(file, "a") as made:
        for name, data in members().items():
            with warnings.catch_warnings(action="ignore", category=UserWarning):
                made.writestr(name, data)


@hostile(6)
def encrypted(file: Path, _: Canary) -> None:
    sound(file)
    content = bytearray(file.read_bytes())
    for signature, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.find(signature) + flags] |= 1
    file.write_bytes(content)


@hostile(6)
def unknown_compression(file: Path, _: Canary) -> None:
    sound(file)
    content = bytearray(file.read_bytes())
    for signature, method in ((b"PK\3\4", 8), (b"PK\1\2", 10)):
        content[content.find(signature) + method] = 99
    file.write_bytes(content)


@hostile(6)
def names_that_differ(file: Path, _: Canary) -> None:
    """The index calls a member config.json, and the member itself does not."""
    sound(file)
    content = file.read_bytes()
    place = content.find(b"config.json")
    file.write_bytes(content[:place] + b"konfig.json" + content[place + 11 :])


@hostile(6)
def thousands_of_members(file: Path, _: Canary) -> None:
    archive(file, members() | {f"assets/a{n}/vocabulary.txt": b"" for n in range(5_000)})


@hostile(6)
def cut_off(file: Path, _: Canary) -> None:
    content = sound(file).read_bytes()
    file.write_bytes(content[: len(content) // 2])


@hostile(6)
def one_bit_flipped(file: Path, _: Canary) -> None:
    content = bytearray(sound(file).read_bytes())
    content[content.find(b"\x89HDF") + 3_000] ^= 1
    file.write_bytes(content)


for _member in ("metadata.json", "config.json", "model.weights.h5"):
    without(6, _member)


class ExaminerHere:
    """Opens a file in this process, and loads nothing."""

    def inspect(self, file):
        return inspect(file)

    def trial_run(self, file, config, data):
        inspect(file)
        return Limits.of(file.stat().st_size)
