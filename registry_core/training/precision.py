"""The precision of a run's model, as Keras's dtype policy: set for a run, and restored after it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import keras

from registry_core.config import RunConfig, dtype_policy
from registry_core.process import keras_environment


class PrecisionSettings:
    """Keras's settings for a run, and what they were before it.

    Args:
        config: of the run. If its class declares a setting `precision` of another type, the plugin
            sets the policy itself.
    """

    def __init__(self, config: RunConfig) -> None:
        self._wanted = dtype_policy(config)
        self._policy, self._floatx = keras.config.dtype_policy(), keras.config.floatx()

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Build models with the run's precision in the block."""
        try:
            if self._wanted is not None:
                if self.overruled():
                    keras.config.set_floatx("float32")  # losses and metrics are computed in it
                if self._wanted != "float32" or keras.config.floatx() == "float32":
                    keras.config.set_dtype_policy(self._wanted)
            yield
        finally:
            keras.config.set_floatx(self._floatx)
            keras.config.set_dtype_policy(self._policy)

    def overruled(self) -> dict[str, str]:
        """The `floatx` of keras.json, if this run does not follow it; a plugin's own stays."""
        is_users = keras_environment.settings_in_file().get("floatx") == self._floatx
        if self._floatx == "float32" or not is_users or self._wanted is None:
            return {}
        return {"floatx in keras.json": self._floatx}
