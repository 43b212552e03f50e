"""An extension that stops a run which no longer improves."""

from mlreg import hookimpl


@hookimpl
def mlreg_callbacks():
    import keras

    return [keras.callbacks.EarlyStopping("loss", patience=5)]
