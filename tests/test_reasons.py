"""The one line that says why, of exceptions that say it after many others."""

import pytest
from fakes import write_project

from registry_core.errors import PluginError
from registry_core.plugins.attribution import describe_error, error_reason
from registry_core.plugins.manager import KnownPlugins

BOLD, PLAIN = "\x1b[1m", "\x1b[0m"

# As Keras and TensorFlow raise them -> the line that tells.
SAID = {
    f"""Exception encountered when calling Sequential.call().

{BOLD}'out put' is not a valid scope name.{PLAIN}

Arguments received by Sequential.call():
  • inputs=tf.Tensor(shape=(None, 8), dtype=float32)""": "'out put' is not a valid scope name.",
    f"""Exception encountered when calling Own.call().

{BOLD}Could not automatically infer the output shape / dtype of 'own' (of type Own). Either the \
`Own.call()` method is incorrect, or you need to implement the `Own.compute_output_spec()` \
method. Error encountered:

Dimensions must be equal, but are 8 and 7.{PLAIN}

Arguments received by Own.call():
  • args=()""": "Dimensions must be equal, but are 8 and 7.",
    """Graph execution error:

Detected at node compile_loss/SparseSoftmaxCrossEntropy defined at (most recent call last):
  File "/home/user/plugin.py", line 17, in <module>

  File "/usr/lib/keras/trainers/trainer.py", line 387, in compute_loss

Received a label value of 7 which is outside the valid range of [0, 3).  Label values: 7 7
\t [[{{node compile_loss/SparseSoftmaxCrossEntropyWithLogits}}]] [Op:__inference_11]""": (
        "Received a label value of 7 which is outside the valid range of [0, 3).  Label values: 7 7"
    ),
    """Graph execution error:

Detected at node PyFunc defined at (most recent call last):
<stack traces unavailable>
KeyError: row 1 has no label
Traceback (most recent call last):

  File "/home/user/plugin.py", line 17, in rows
    raise KeyError("row 1 has no label")

KeyError: row 1 has no label


\t [[{{node PyFunc}}]]""": "KeyError: row 1 has no label",
    """{{function_node __wrapped__IteratorGetNext_output_types_1_device_/device:CPU:0}} Cannot \
batch tensors with different shapes. [Op:IteratorGetNext] name: """: (
        "Cannot batch tensors with different shapes."
    ),
    """2 root error(s) found.
  (0) INVALID_ARGUMENT:  required broadcastable shapes
\t [[{{node add}}]]
  (1) INVALID_ARGUMENT:  required broadcastable shapes
0 successful operations.""": "INVALID_ARGUMENT:  required broadcastable shapes",
    """in user code:

    File "/home/user/plugin.py", line 3, in shift  *
        return inputs + undefined

    NameError: name 'undefined' is not defined
""": "NameError: name 'undefined' is not defined",
    """Input 0 of layer "dense" is incompatible with the layer:
expected axis -1 of input shape to have value 5, but received input with shape (2, 3)""": (
        'Input 0 of layer "dense" is incompatible with the layer: expected axis -1 of input shape '
        "to have value 5, but received input with shape (2, 3)"
    ),
    "only this line": "only this line",
    "the first line\nand what follows": "the first line",
    "": "",
}


@pytest.mark.parametrize(("message", "telling"), SAID.items(), ids=range(len(SAID)))
def test_the_line_with_the_reason_is_found(message, telling):
    """Whatever frames, nodes or arguments come before it."""
    assert error_reason(ValueError(message)) == telling


def test_the_type_of_an_exception_is_shown_once():
    """An exception that TensorFlow re-raises keeps its own type."""
    assert describe_error(ValueError("not today")) == "ValueError: not today"
    assert describe_error(ValueError()) == "ValueError"
    assert describe_error(RuntimeError("in user code:\n\n    TypeError: bad\n")) == "TypeError: bad"
    assert describe_error(KeyError("a\nb")) == "KeyError: a"
    assert describe_error(KeyError("units")) == "KeyError: 'units'"
    assert describe_error(KeyError(3)) == "KeyError: 3"


def test_a_message_of_frames_alone_shows_the_first_line():
    """Better than an empty message."""
    assert error_reason(ValueError("Graph execution error:")) == "Graph execution error:"


def test_an_exception_in_a_model_shows_its_reason(tmp_path):
    """Not the line that Keras puts before every exception of a layer."""
    plugins = KnownPlugins(write_project(tmp_path)).load("flowers")
    message = next(iter(SAID))
    with pytest.raises(PluginError) as caught, plugins.attribute_errors("mlreg_model"):
        exec("def call(): raise ValueError(message)\ncall()", {"message": message})
    assert caught.value.what == (
        "Plugin 'flowers' failed in mlreg_model: ValueError: 'out put' is not a valid scope name."
    )


@pytest.mark.gate
@pytest.mark.tensorflow
def test_errors_of_keras_and_tensorflow_show_their_reason():
    """With real errors, so that changed wording in a new release is noticed."""
    import keras
    import numpy as np
    import tensorflow as tf

    from registry_core import training  # noqa: F401 - chooses the backend

    inputs, classes = np.zeros((4, 8), "float32"), np.zeros(4, int)

    def fit(*layers, targets=classes):
        model = keras.Sequential([keras.Input((8,)), *layers])
        model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        model.fit(inputs, targets, verbose=0)

    class Own(keras.layers.Layer):
        def call(self, inputs):
            return tf.matmul(inputs, tf.zeros((7, 3)))

    class Missing(keras.layers.Layer):
        def call(self, inputs):
            raise KeyError("no such thing")

    def rows():
        yield inputs[0]
        raise ValueError("row 1 is empty")

    stream = tf.data.Dataset.from_generator(rows, output_signature=tf.TensorSpec((8,)))
    # with deterministic operations, and without
    labels = ("Received a label value of 7", "indices[0] = 7")
    for fails, telling in (
        (lambda: fit(keras.layers.Dense(3, name="out put")), "'out put' is not a valid"),
        (lambda: fit(keras.layers.Dense(3), targets=classes + 7), labels),
        (
            lambda: keras.Sequential([keras.Input((5,)), keras.layers.Dense(1)])(inputs),
            ("Input 0 with name 'None' of layer", 'Input 0 of layer "'),
        ),
        (lambda: fit(Own()), "Dimensions must be equal, but are 8 and 7"),
        (lambda: fit(Missing()), "'no such thing'"),
        (lambda: list(stream), "ValueError: row 1 is empty"),
        (lambda: keras.saving.deserialize_keras_object(
            {"module": None, "class_name": "Nobody", "config": {}, "registered_name": "Nobody"}
        ), "Could not locate class 'Nobody'"),
    ):  # fmt: skip
        with pytest.raises(Exception) as caught:
            fails()
        assert error_reason(caught.value).startswith(telling)
        if telling[0].startswith("Input 0"):
            assert "have value 5, but received input with shape (4, 8)" in (
                error_reason(caught.value)
            )
