"""Points in a dict with a text beside them, example weights and class weights."""

from sound_plugin import *


def draw_nested(examples, seed):
    import numpy as np

    split = draw(examples, seed)
    names = np.array(["left", "middle", "right"], dtype=object)[split.targets]
    inputs = {"point": split.inputs, "name": names}
    weights = np.linspace(0.5, 1, examples).astype("float32")
    return ArraySplit(inputs, split.targets, weights, {"a": 2.0})


@hookimpl
def mlreg_dataset():
    parts = [draw_nested(examples, seed) for seed, examples in enumerate((90, 40, 40))]
    return DataSplits(*parts, class_names=("a", "b", "c"))


@hookimpl
def mlreg_augmentation():
    import tensorflow as tf

    def jitter(inputs, batch):
        points = inputs["point"]
        noise = tf.random.stateless_normal(tf.shape(points), batch.seed)
        return {**inputs, "point": points + 0.01 * noise}

    return jitter


@hookimpl
def mlreg_model(learning_rate):
    import keras

    point, name = keras.Input((2,), name="point"), keras.Input((), name="name", dtype="string")
    lookup = keras.layers.StringLookup(vocabulary=["left", "middle", "right"])
    number = keras.layers.Embedding(4, 2)(lookup(name))
    outputs = keras.layers.Dense(3)(keras.layers.Concatenate()([point, number]))
    model = keras.Model({"point": point, "name": name}, outputs)
    model.compile(
        keras.optimizers.SGD(learning_rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        weighted_metrics=["accuracy"],
    )
    return model
