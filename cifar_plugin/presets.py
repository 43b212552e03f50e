"""The presets of all recipes. Imports neither NumPy nor TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from cifar_plugin.airbench import config as airbench
from cifar_plugin.baseline import config as baseline
from cifar_plugin.config import CifarConfig

PRESETS: Mapping[str, CifarConfig] = MappingProxyType({**baseline.PRESETS, **airbench.PRESETS})
