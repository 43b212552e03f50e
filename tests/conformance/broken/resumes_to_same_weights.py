"""Breaks the rule resumes-to-same-weights."""

from sound_plugin import *


@hookimpl
def mlreg_callbacks():
    import keras

    class Decay(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            # an attribute of the model, which no checkpoint keeps
            self.model.batches_seen = getattr(self.model, "batches_seen", 0) + 1
            self.model.optimizer.learning_rate = 0.1 / self.model.batches_seen

    return [Decay()]
