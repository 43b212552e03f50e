"""Breaks the rule trained-model-loads."""

from sound_plugin import *


@hookimpl
def mlreg_model(learning_rate):
    from scaling_layer import Scaling

    return classifier(learning_rate, Scaling())


@hookimpl
def mlreg_callbacks():
    import keras

    class Scale(keras.callbacks.Callback):
        def on_train_end(self, logs=None):
            self.model.layers[0].scale = 3.0

    return [Scale()]
