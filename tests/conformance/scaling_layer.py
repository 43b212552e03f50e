"""A layer whose state is in an attribute that its file does not have."""

import keras


@keras.saving.register_keras_serializable("tests")
class Scaling(keras.layers.Layer):
    scale = 1.0

    def call(self, inputs):
        return self.scale * inputs
