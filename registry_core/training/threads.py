"""TensorFlow's threads sleep while they wait for work.

By default they spin for a while first. That makes them ready some microseconds earlier, and costs
CPU time that other threads and other runs could use. No result depends on it.
"""

from __future__ import annotations

from typing import Any

from tensorflow.core.protobuf import config_pb2
from tensorflow.python.eager import context


def wait_without_spinning() -> bool:
    """Have TensorFlow's threads wait without spinning, if it has not started them yet.

    TensorFlow 2.21 has the option, and no public function that sets it. A configuration that
    another program gave stays as it is.

    Returns:
        Whether they do.
    """
    current: Any = context.context()
    if getattr(current, "_initialized", True) or getattr(current, "_config", True) is not None:
        return spins() is False
    config = config_pb2.ConfigProto()
    config.experimental.disable_thread_spinning = True
    current._config = config
    return True


def spins() -> bool:
    """Whether TensorFlow's threads spin while they wait."""
    config: Any = getattr(context.context(), "_config", None)
    return config is None or not config.experimental.disable_thread_spinning
