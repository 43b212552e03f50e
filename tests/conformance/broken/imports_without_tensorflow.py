"""Breaks the rule imports-without-tensorflow."""

import keras
from sound_plugin import *

keras.layers
