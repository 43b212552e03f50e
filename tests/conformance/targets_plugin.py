"""A model of two outputs: numbers of a regression, and a class that the task is about."""

from sound_plugin import *

from mlreg import Classification


def draw_both(examples, seed):
    split = draw(examples, seed)
    return ArraySplit(split.inputs, {"centre": split.targets, "sum": split.inputs.sum(axis=1)})


@hookimpl
def mlreg_dataset():
    parts = [draw_both(examples, seed) for seed, examples in enumerate((90, 40, 40))]
    return DataSplits(*parts, task=Classification(("a", "b", "c"), output="centre"))


@hookimpl
def mlreg_model(learning_rate):
    import keras

    points = keras.Input((2,))
    outputs = {
        "centre": keras.layers.Dense(3, name="centre")(points),
        "sum": keras.layers.Dense(1, name="sum")(points),
    }
    model = keras.Model(points, outputs)
    model.compile(
        keras.optimizers.SGD(learning_rate),
        {"centre": keras.losses.SparseCategoricalCrossentropy(from_logits=True), "sum": "mse"},
        metrics={"centre": ["accuracy"]},
    )
    return model
