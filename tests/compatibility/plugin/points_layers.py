"""A custom layer in a separate module. Never change this file; see points.py."""

import keras


@keras.saving.register_keras_serializable(package="points")
class Scale(keras.layers.Layer):
    """Multiply by a constant."""

    def __init__(self, factor, **options):
        super().__init__(**options)
        self.factor = factor

    def call(self, inputs):
        """Return the same shape and dtype as `inputs`."""
        return inputs * self.factor

    def get_config(self):
        """Return what the constructor takes."""
        return {**super().get_config(), "factor": self.factor}
