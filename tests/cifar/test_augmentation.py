"""Augmented pictures are those of Keras's ImageDataGenerator, drawn from a seed."""

import itertools

import numpy as np
import pytest
import scipy

from cifar_plugin.baseline.config import BaselineConfig
from registry_core.types import Batch

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.filterwarnings("ignore:Please import `affine_transform`:DeprecationWarning"),
]

GREY_LEVELS = 0.01
DRAWS = 20_000


@pytest.fixture(scope="module")
def generator(tf):
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    return ImageDataGenerator(
        rotation_range=15, width_shift_range=0.1, height_shift_range=0.1, horizontal_flip=True
    )


@pytest.fixture(scope="module")
def transform(tf):
    from cifar_plugin.baseline.augmentation import transform

    return transform


@pytest.fixture(scope="module")
def augment(tf):
    from cifar_plugin.baseline.augmentation import augmentation

    return augmentation(BaselineConfig())


def drawn(seed, examples=DRAWS, **changes):
    from cifar_plugin.baseline.augmentation import draw_parameters

    settings = {"rotation_degrees": 15.0, "shift_fraction": 0.1, "horizontal_flip": True}
    parameters = draw_parameters(
        np.array(seed, np.int32), examples, 32, 32, **{**settings, **changes}
    )
    return type(parameters)(*(values.numpy() for values in parameters))


def noise(examples, shape=(32, 32, 3), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (examples, *shape), dtype=np.uint8)


def gradients(examples):
    """Smooth pictures: a ramp down, a ramp to the right, and a bump in the middle."""
    ramp = np.linspace(0, 255, 32)
    bump = 255 * np.exp(-(((np.arange(32) - 15.5) / 8) ** 2))
    picture = np.stack(
        [
            np.broadcast_to(ramp[:, None], (32, 32)),
            np.broadcast_to(ramp, (32, 32)),
            np.outer(bump, bump) / 255,
        ],
        axis=-1,
    )
    return np.repeat(picture[None], examples, axis=0).astype(np.float32)


def keras_pictures(generator, images, parameters):
    """The same images through `apply_transform`, whose `tx` moves along the width."""
    return np.stack(
        [
            generator.apply_transform(
                image.astype(np.float32),
                {
                    "theta": np.rad2deg(float(angle)),
                    "tx": float(shift_x),
                    "ty": float(shift_y),
                    "flip_horizontal": bool(flip),
                },
            )
            for image, angle, shift_y, shift_x, flip in zip(images, *parameters, strict=True)
        ]
    )


@pytest.mark.gate(keep=1)
@pytest.mark.parametrize("pictures", [noise, gradients])
def test_random_transforms_match_keras(generator, transform, pictures):
    """Over 1,000 draws no value differs by more than 0.01 of 255."""
    parameters = drawn((3, 1), 1_000)
    images = pictures(1_000)
    expected = keras_pictures(generator, images, parameters)
    assert np.abs(transform(images, *parameters) - expected).max() < GREY_LEVELS


@pytest.mark.parametrize("pictures", [noise, gradients])
def test_extreme_and_zero_parameters_match_keras(generator, transform, pictures):
    """All combinations, where borders and rounding are worst."""
    corners = list(
        itertools.product(np.deg2rad([-15, 0, 15]), [-3.2, 0, 3.2], [-3.2, 0, 3.2], [False, True])
    )
    angle, shift_y, shift_x, flip = map(np.array, zip(*corners, strict=True))
    parameters = (*(a.astype(np.float32) for a in (angle, shift_y, shift_x)), flip)
    images = pictures(len(corners))
    expected = keras_pictures(generator, images, parameters)
    assert np.abs(transform(images, *parameters) - expected).max() < GREY_LEVELS


@pytest.mark.gate
def test_a_batch_of_unknown_size_is_compiled_and_gives_the_same_pictures(tf, transform):
    """As in training; the last batch of an epoch is smaller. Only rounding differs."""
    images, parameters = noise(6), drawn((3, 2), 6)
    unknown = (tf.TensorSpec((None, *each.shape[1:]), each.dtype) for each in (images, *parameters))
    compiled = tf.function(transform, list(unknown), autograph=False)
    assert "_XlaMustCompile" in str(compiled.get_concrete_function().graph.as_graph_def())
    expected = transform(images, *parameters).numpy()
    for count in (6, 2):
        part = [each[:count] for each in (images, *parameters)]
        moved = compiled(*part).numpy()
        assert np.abs(moved - expected[:count]).max() < GREY_LEVELS
        np.testing.assert_array_equal(moved, compiled(*part))


def test_zero_parameters_return_the_image(transform):
    """Without angle, shift and flip no bit changes."""
    images, none = noise(4), np.zeros(4, np.float32)
    moved = transform(images, none, none, none, np.zeros(4, bool)).numpy()
    assert moved.dtype == np.float32
    np.testing.assert_array_equal(moved, images)


def test_directions_are_as_documented(transform):
    """Positive angles are counter-clockwise, shifts go up and left, flips are horizontal."""
    image = noise(1)
    none, no = np.zeros(1, np.float32), np.zeros(1, bool)

    def moved(angle=none, shift_y=none, shift_x=none, flip=no):
        return np.asarray(transform(image, angle, shift_y, shift_x, flip))[0]

    quarter = moved(angle=np.array([np.pi / 2], np.float32))
    np.testing.assert_allclose(quarter, np.rot90(image[0]), atol=GREY_LEVELS)
    two = np.array([2], np.float32)
    np.testing.assert_array_equal(moved(shift_y=two)[:-2], image[0, 2:])
    np.testing.assert_array_equal(moved(shift_x=two)[:, :-2], image[0, :, 2:])
    np.testing.assert_array_equal(moved(flip=~no), image[0, :, ::-1])


@pytest.mark.parametrize("shape", [(20, 48, 3), (48, 20, 1), (7, 5, 4), (1, 1, 1)])
def test_any_shape_rotates_about_its_centre(transform, shape):
    """Images that are not square, against SciPy and float64."""
    images = noise(12, shape)
    parameters = drawn((5, 2), 12)
    height, width, _ = shape
    centre = np.array([(height - 1) / 2, (width - 1) / 2])[:, None, None]
    grid = np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij")) - centre
    moved = transform(images, *parameters).numpy()
    for picture, image, angle, shift_y, shift_x, flip in zip(
        moved, images, *parameters, strict=True
    ):
        cosine, sine = np.cos(angle), np.sin(angle)
        turn = np.array([[cosine, sine], [-sine, cosine]])
        read = np.tensordot(turn, grid + np.array([shift_y, shift_x])[:, None, None], 1) + centre
        channels = np.moveaxis(image.astype(np.float64), -1, 0)
        expected = np.stack(
            [scipy.ndimage.map_coordinates(c, read, order=1, mode="nearest") for c in channels],
            axis=-1,
        )
        expected = expected[:, ::-1] if flip else expected
        assert np.abs(picture - expected).max() < GREY_LEVELS


def test_parameters_have_keras_distribution(generator):
    """By a Kolmogorov-Smirnov test of angles, shifts and flips."""
    ours = drawn((11, 7))
    theirs = [generator.get_random_transform((32, 32, 3), seed=s) for s in range(DRAWS // 4)]
    for values, name in (
        (np.rad2deg(ours.angle), "theta"),
        (ours.shift_x, "tx"),
        (ours.shift_y, "ty"),
        (ours.flip.astype(float), "flip_horizontal"),
    ):
        sample = [float(parameters[name]) for parameters in theirs]
        assert scipy.stats.ks_2samp(values, sample).pvalue > 0.001, name


def test_parameters_are_continuous_over_their_range():
    """Uniform, with fractions of pixels, and half of the images flipped."""
    ours = drawn((1, 2))
    for values, bound in ((np.rad2deg(ours.angle), 15.0), (ours.shift_x, 3.2), (ours.shift_y, 3.2)):
        assert scipy.stats.kstest(values, scipy.stats.uniform(-bound, 2 * bound).cdf).pvalue > 0.001
        assert np.abs(values).max() <= bound * (1 + 1e-6)
    assert scipy.stats.binomtest(int(ours.flip.sum()), DRAWS).pvalue > 0.001
    assert np.mean(ours.shift_x == np.round(ours.shift_x)) < 0.001


def test_parameters_are_independent():
    """Of each other and of those of the next seed."""
    columns = np.stack([*drawn((4, 8)), *drawn((4, 9)), *drawn((5, 8))])
    bound = 4.5 / np.sqrt(DRAWS)
    apart = ~np.eye(len(columns), dtype=bool)
    assert np.abs(np.corrcoef(columns)[apart]).max() < bound
    spread = columns[[0, 1, 2, 4, 5, 6, 8, 9, 10]] ** 2
    assert np.abs(np.corrcoef(spread)[~np.eye(len(spread), dtype=bool)]).max() < bound


def test_an_images_parameters_do_not_depend_on_the_batch_size():
    """A shorter last batch does not change them."""
    for whole, part in zip(drawn((2, 3), 32), drawn((2, 3), 5), strict=True):
        np.testing.assert_array_equal(whole[:5], part)


def test_each_transform_can_be_disabled():
    """The others do not change."""
    every = drawn((6, 6))
    still = drawn((6, 6), rotation_degrees=0.0, horizontal_flip=False)
    assert not still.angle.any()
    assert not still.flip.any()
    np.testing.assert_array_equal(still.shift_x, every.shift_x)
    assert not drawn((6, 6), shift_fraction=0.0).shift_y.any()


@pytest.mark.parametrize(
    "changes", [{"rotation_degrees": -1.0}, {"rotation_degrees": 181.0}, {"shift_fraction": 1.0}]
)
def test_parameters_out_of_range_are_refused(changes):
    """The message names the argument and its range."""
    with pytest.raises(ValueError, match=next(iter(changes))):
        drawn((0, 0), 4, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"augment": False},
        {"rotation_degrees": 0, "shift_fraction": 0, "horizontal_flip": False},
    ],
)
def test_a_configuration_without_transforms_has_no_augmentation(tf, changes):
    """It costs nothing."""
    from cifar_plugin.baseline.augmentation import augmentation

    assert augmentation(BaselineConfig(**changes)) is None


def augmented(tf, augment, images, seed, batch_size=32):
    """Batches out of a tf.data pipeline, as a run has them."""

    def move(step, batch):
        place = tf.stack([seed, tf.cast(step, tf.int32)])
        return augment(batch, Batch(place, tf.constant(0, tf.int64), tf.range(32)))

    batches = tf.data.Dataset.from_tensor_slices(images).batch(batch_size).enumerate().map(move)
    assert batches.element_spec.dtype == tf.float32
    assert batches.element_spec.shape.as_list() == [None, 32, 32, 3]
    return np.concatenate(list(batches.as_numpy_iterator()))


def test_the_same_seed_gives_the_same_bits(tf, augment):
    """A resumed run sees what an uninterrupted one would have seen."""
    images = noise(100)  # the last batch holds four
    first, again, other = (augmented(tf, augment, images, seed) for seed in (1, 1, 2))
    assert first.shape == images.shape
    np.testing.assert_array_equal(first, again)
    assert (first != other).any(axis=(1, 2, 3)).all()


def test_each_image_of_a_batch_has_its_own_transform(tf, augment):
    """32 copies of an image become 32 images."""
    pictures = augmented(tf, augment, np.repeat(noise(1), 32, axis=0), seed=9)
    assert len(np.unique(pictures.reshape(32, -1), axis=0)) == 32


@pytest.mark.gate
def test_deterministic_mode_changes_no_bit(tf, augment):
    """Every operation has a deterministic kernel, which is always used."""
    from tensorflow.python.framework import config as framework

    images = tf.constant(noise(32))
    batch = Batch(tf.constant([3, 4]), tf.constant(0, tf.int64), tf.range(32))
    usual = tf.function(augment)(images, batch)
    tf.config.experimental.enable_op_determinism()
    try:
        np.testing.assert_array_equal(tf.function(augment)(images, batch), usual)
    finally:
        framework.disable_op_determinism()
