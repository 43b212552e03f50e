"""Breaks the rule untrained-model-loads."""

from sound_plugin import *


@hookimpl
def mlreg_model(learning_rate):
    import keras

    class Unregistered(keras.layers.Dense):
        pass

    return classifier(learning_rate, Unregistered(4))
