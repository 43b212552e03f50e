"""The precision of a run: a setting that the host applies to what the plugin builds."""

import pytest
from resumed_fits import WITHIN, Fits

from registry_core.config import RunConfig, dtype_policy

pytestmark = pytest.mark.tensorflow


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.parametrize(
    ("precision", "compute", "optimizer"),
    [
        ("float32", "float32", "Adam"),
        ("mixed_bfloat16", "bfloat16", "Adam"),
        ("mixed_float16", "float16", "LossScaleOptimizer"),
    ],
)
def test_a_run_of_each_precision_resumes_to_the_same_weights(
    training, tmp_path, monkeypatch, precision, compute, optimizer
):
    """The checkpoint has the scale of the loss, where the optimizer has one."""
    monkeypatch.setattr("registry_core.training.callback_batching.EXAMPLES_PER_CALL", 10)
    fits = Fits(training, tmp_path, settings={"precision": precision})
    whole, resumed = fits.whole(), fits.resumed(WITHIN)
    assert resumed.digest == whole.digest
    assert resumed.history.metrics == whole.history.metrics
    assert resumed.warnings == whole.warnings == []
    assert {layer.compute_dtype for layer in whole.model.layers} == {compute}
    assert {weight.dtype for weight in whole.model.weights} >= {"float32"}
    assert type(whole.model.optimizer).__name__ == optimizer
    if optimizer == "LossScaleOptimizer":
        scales = [float(each.model.optimizer.dynamic_scale) for each in (whole, resumed)]
        assert scales[0] == scales[1]


def test_the_precision_is_of_the_run_alone(training, keras):
    """Another run in the same process has its own, and a program its own afterwards."""
    before = keras.config.dtype_policy().name
    for precision in ("mixed_bfloat16", "float32"):
        trainer = training.KerasTrainer(RunConfig(precision=precision))
        with trainer.precision():
            assert keras.layers.Dense(1).dtype_policy.name == precision
            assert trainer.environment()["keras_settings"]["dtype_policy"] == precision
        assert keras.layers.Dense(1).dtype_policy.name == before


def test_a_policy_that_a_program_chose_is_back_after_a_run(training, keras):
    """Also where the run fails."""
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        trainer = training.KerasTrainer(RunConfig())
        with pytest.raises(KeyError), trainer.precision():
            assert keras.config.dtype_policy().name == "float32"
            raise KeyError
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
    finally:
        keras.config.set_dtype_policy("float32")


def test_a_plugin_keeps_its_own_setting_of_that_name(training, keras):
    """Its type says that it is another one; the host sets no policy for it."""

    class Own(RunConfig):
        precision: int = 3

    class Same(RunConfig):
        units: int = 3

    assert dtype_policy(Own()) is None
    assert dtype_policy(Same(precision="mixed_float16")) == "mixed_float16"
    trainer = training.KerasTrainer(Own())
    with trainer.precision():
        keras.config.set_dtype_policy("mixed_bfloat16")
        assert keras.layers.Dense(1).dtype_policy.name == "mixed_bfloat16"
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.parametrize("in_file", [True, False])
def test_a_floatx_of_the_user_is_overruled_and_a_plugins_own_stays(
    training, keras, tmp_path, monkeypatch, in_file
):
    """`keras.json` would change what every run computes; code that sets it means this one."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    if in_file:
        (tmp_path / "keras.json").write_text('{"floatx": "float16"}')
    keras.config.set_floatx("float16")
    try:
        trainer = training.KerasTrainer(RunConfig())
        with trainer.precision():
            used = "float32" if in_file else "float16"
            assert keras.config.floatx() == keras.layers.Dense(1).compute_dtype == used
            told = trainer.environment().get("overruled", {})
            assert told.get("floatx in keras.json") == ("float16" if in_file else None)
        assert keras.config.floatx() == "float16"
    finally:
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("float32")


def test_outputs_of_16_bits_are_measured_in_32(training, keras):
    """Each example's loss is as exact as Keras's own."""
    import numpy as np

    from registry_core.training.evaluation import evaluate_model
    from registry_core.types import ArraySplit

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, dtype="mixed_bfloat16")])
    model.compile("sgd", "mse")
    x = np.linspace(0, 1, 20, dtype="float32").reshape(10, 2)
    found = evaluate_model(model, ArraySplit(x, 1000 + x[:, :1]))
    assert found.outputs.dtype == found.losses.dtype == "float32"
    assert found.metrics["loss"] == pytest.approx(found.losses.mean(), rel=1e-6)
