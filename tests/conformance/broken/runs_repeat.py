"""Breaks the rule runs-repeat."""

from sound_plugin import *


@hookimpl
def mlreg_model(learning_rate):
    import keras
    import numpy as np

    start = keras.initializers.Constant(np.random.default_rng().normal())
    return classifier(learning_rate, keras.layers.Dense(4, bias_initializer=start))
