"""Breaks the rule run-warns-of-nothing."""

from sound_plugin import *


@hookimpl
def mlreg_callbacks():
    import keras

    class Counting(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.numbers = iter(range(1000))

        def on_epoch_end(self, epoch, logs=None):
            next(self.numbers)

    return [Counting()]
