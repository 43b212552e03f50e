"""`python -m benchmarks roofline`: what its tables say of numbers that are known."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2]))  # not installed; behind what is

from benchmarks import roofline
from benchmarks.roofline_kernels import ACTIVATION, FORWARD, INPUTS, WEIGHTS, Kernel

LIMITS = {"matmul": 100e9, "matmul_all": 90e9, "memory": 20e9, "cache": 80e9}


def row(kernel: str, direction: str, operations: float, moved: float, microseconds: float) -> dict:
    """A kernel's row as `roofline_step` writes it."""
    made = Kernel("layer0xconv2d", kernel, direction, operations, moved)
    return {**made.row(), "microseconds": microseconds}


@pytest.fixture
def measured():
    """A step of 1,000 µs on all threads, in two processes' words."""
    kernels = [
        row("convolution, 3", FORWARD, 40e6, 1e6, 400.0),
        row("convolution, 3", WEIGHTS, 20e6, 1e6, 250.0),
        row("pooling, 3", FORWARD, 1e6, 8e6, 100.0),
    ]
    one = {"kernels": kernels, "others": {"Adam": 30.0}, "step": 800.0}
    return {**one, "input": 90.0, "gather": 20.0}, {"fit": 1000.0, "validation_image": 5.0}


def test_the_parts_of_a_step_add_up_to_the_step(measured):
    rows = roofline.parts(*measured)
    parts = {each["part"]: each["microseconds"] for each in rows if "part" in each}
    assert sum(parts.values()) == pytest.approx(1000.0)
    assert parts["convolution: forward"] == 400.0
    assert parts["TensorFlow between the operations"] == 20.0
    assert parts["input: augmentation"] == 70.0
    assert parts["more threads, and Keras around the step"] == 110.0


def test_a_kernel_is_compared_with_the_lower_of_its_two_roofs(measured):
    """A convolution cannot be faster than the processor, pooling not than the cache."""
    one, every = measured
    text = roofline.tables([*one["kernels"], *roofline.parts(one, every)], LIMITS)
    assert "| convolution, 3: forward | 400 | 100.0 | 2 | 100% |" in text
    assert "| pooling, 3: forward | 100 | 10.0 | 80 | 100% |" in text
    assert "would take 610 µs" in text


def test_an_operation_belongs_to_the_layer_and_the_direction_that_its_name_says():
    """TensorFlow names an operation by its layer and marks gradients."""
    layer, gradient = "sequential/layer0xconv2d_1/convolution", "gradient_tape/sequential"
    for direction, name, kind in (
        (FORWARD, layer, "_MklNativeFusedConv2D"),
        (WEIGHTS, f"{gradient}/layer0xconv2d_1/Conv2DBackpropFilter", "Conv2DBackpropFilter"),
        (INPUTS, f"{gradient}/layer0xconv2d_1/Conv2DBackpropInput", "Conv2DBackpropInput"),
        (ACTIVATION, f"{gradient}/layer0xconv2d_1/ReluGrad", "ReluGrad"),
    ):
        for each in (FORWARD, WEIGHTS, INPUTS, ACTIVATION):
            found = Kernel.matches(row("convolution, 3", each, 1, 1, 1), name, kind)
            assert found == (each == direction)
    other = row("convolution, 3", FORWARD, 1, 1, 1)
    assert not Kernel.matches(other, "sequential/layer10xconv2d/convolution", "Conv2D")


@pytest.mark.gate
def test_the_picture_is_drawn(measured, tmp_path):
    one, every = measured
    rows = [*one["kernels"], *roofline.parts(one, every)]
    roofline.draw(rows, LIMITS, tmp_path / "roofline.svg")
    text = (tmp_path / "roofline.svg").read_text("utf-8")
    assert text.count("<text") > 10
    assert "roof with the data in the cache" in text
