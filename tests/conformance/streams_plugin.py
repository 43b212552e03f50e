"""Three splits of three kinds: a stream, a TensorFlow function of an index, a list."""

from sound_plugin import *

from mlreg import IndexedSplit, StreamSplit


@hookimpl
def mlreg_dataset():
    import numpy as np
    import tensorflow as tf

    def arrays(examples, seed):
        split = draw(examples, seed)
        return split.inputs, split.targets, np.full(examples, 0.5, "float32")

    dataset = tf.data.Dataset.from_tensor_slices(arrays(90, 1))
    inputs, targets, weights = (tf.constant(each) for each in arrays(90, 2))
    return DataSplits(
        StreamSplit(dataset, 90, "drawn with seed 1"),
        IndexedSplit(
            lambda at: (inputs[at], targets[at], weights[at]), 90, fingerprint="drawn with seed 2"
        ),
        IndexedSplit(list(zip(*arrays(30, 3), strict=True))),
        ("a", "b", "c"),
    )
