"""The classes and functions that a model's `config.json` names: only Keras's own are allowed."""

from __future__ import annotations

import builtins
import re
from collections.abc import Collection
from typing import Any

from registry_core.errors import RefusedError
from registry_core.model_import.archive_members import CONFIG
from registry_core.model_import.refusals import malformed, shorten

_LIMIT_DEPTH = 200

# The modules that Keras writes for its own objects. Importing one of them reads no file and opens
# no connection, and their public classes are layers, optimizers and the like.
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
# A function is looked up when a model is loaded, and called when the model predicts.
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
# How Keras writes values that JSON has no type for
_VALUES = {"__bytes__", "__ellipsis__", "__keras_tensor__", "__numpy__", "__slice__", "__tensor__"}
# key of a configuration, or its ending -> kind of the objects below it
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


def check_config(config: Any, custom: Collection[str] = ()) -> None:
    """Check every object that the configuration would create, at any depth.

    Args:
        config: the configuration of a model.
        custom: registered names of objects that are allowed beside Keras's own.

    Raises:
        RefusedError: an object is not Keras's own, holds code, or reads a file.
        IntegrityError: the configuration is malformed.
    """
    stack: list[tuple[Any, int, str]] = [(config, 0, "a model")]
    while stack:
        item, depth, kind = stack.pop()
        if depth > _LIMIT_DEPTH:
            raise malformed(f"has a {CONFIG} of more than {_LIMIT_DEPTH} levels")
        if isinstance(item, dict):
            if "class_name" in item:
                _check_object(item, kind, custom)
            if isinstance(item.get("vocabulary"), str):
                raise RefusedError(
                    f"A layer would read its vocabulary from {shorten(item['vocabulary'])}.",
                    "An imported model must contain its vocabulary: give the layer the list of "
                    "words, and save the model again.",
                )
        inner = item.items() if isinstance(item, dict) else (("", each) for each in item)
        stack.extend(
            (each, depth + 1, _kind(key) or kind)
            for key, each in inner
            if isinstance(each, dict | list)
        )


def _kind(key: str) -> str:
    """The kind of an object below this key of a configuration, in words; empty if unknown."""
    name = key.rpartition("_")[2]
    return _KINDS.get(key) or _KINDS.get(name) or ""


def _check_object(item: dict[str, Any], kind: str, custom: Collection[str]) -> None:
    name, module, config = item["class_name"], item.get("module"), item.get("config")
    if not isinstance(name, str):
        raise malformed(f"has a {CONFIG} with an object whose class is {shorten(name)}")
    if name in _CODE:
        raise RefusedError(
            f"The model holds {_CODE[name]}: {shorten(name)}.",
            "None of it was run. Replace it with Keras's own layers, and save the model again.",
        )
    if name in _VALUES and module is None:
        dtype = config.get("dtype") if isinstance(config, dict) else None
        if dtype is not None and not _NUMBER_TYPE.fullmatch(str(dtype)):
            raise malformed(f"has a value of the type {shorten(dtype)}")
        return
    named = item.get("registered_name")
    if (config if name == "function" else named) in custom:
        return
    if name == "function" and isinstance(config, str) and ">" in config:
        kind = "a function" if kind == "a layer" else kind
        raise _custom_object(kind, config.rpartition(">")[2], config)
    if isinstance(named, str) and (module is None or ">" in named):
        raise _custom_object(kind, name, named)
    if module is None:
        raise RefusedError(
            f"The model is in a legacy format: {shorten(name)} is named without its module.",
            "If you trust the file, load it and save it again with Keras 3.",
        )
    if name == "function":
        known = (
            module in _FUNCTION_MODULES
            and isinstance(config, str)
            and config not in _NO_FUNCTIONS
            and re.fullmatch(r"[a-z]\w*", config)
            and named in (None, config, name)
        )
        name = config
    else:
        known = module in _MODULES and re.fullmatch(r"[A-Z]\w*", name) and named in (None, name)
    if not known:
        raise RefusedError(
            f"The model needs code that is not one of Keras's own layers and functions: "
            f"{shorten(name)} of {shorten(module)}, registered as {shorten(named)}.",
            "A file cannot bring code, and none was imported. Train models with custom layers, "
            "losses or metrics through a plugin, with `mlreg run`.",
        )


def _custom_object(kind: str, name: str, registered: str) -> RefusedError:
    """The error for a custom object that a program registered with Keras."""
    plain = name if re.fullmatch(r"\w{1,80}", name) else shorten(name)
    return RefusedError(
        f"The model has {kind} of its own, {plain}, registered as {shorten(registered)}.",
        f"A file cannot bring code, and none was imported. Put {plain} into a plugin, and train "
        "the model there, with `mlreg run`.",
    )
