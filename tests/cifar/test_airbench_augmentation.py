"""Images are flipped by turns and translated with a mirrored border, labels untouched."""

import numpy as np
import pytest

from registry_core.types import Batch

pytestmark = pytest.mark.tensorflow


def noise(examples, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (examples, 32, 32, 3), dtype=np.uint8)


def augmented(images, epoch, translate_pixels=0, seed=3, indices=None, batch_seed=(5, 6)):
    import tensorflow as tf

    from cifar_plugin.airbench.augmentation import alternating_flip_and_translation

    indices = np.arange(len(images)) if indices is None else indices
    augment = alternating_flip_and_translation(1_000, seed, translate_pixels)
    batch = Batch(
        tf.constant(batch_seed, tf.int32), tf.constant(epoch, tf.int64), tf.constant(indices)
    )
    return tf.function(augment)(tf.constant(images), batch).numpy()


def flipped(images, changed):
    """Which images came back as their mirror images; each must be one or the other."""
    same = (images == changed).all(axis=(1, 2, 3))
    mirrored = (images[:, :, ::-1] == changed).all(axis=(1, 2, 3))
    assert (same ^ mirrored).all()
    return mirrored


@pytest.mark.gate
def test_flips_alternate_between_epochs():
    """Each epoch shows the opposite of the one before."""
    images = noise(1_000)
    turns = [flipped(images, augmented(images, epoch)) for epoch in range(4)]
    assert (turns[0] != turns[1]).all()
    np.testing.assert_array_equal(turns[0], turns[2])
    np.testing.assert_array_equal(turns[1], turns[3])
    assert 430 < turns[0].sum() < 570


@pytest.mark.gate
def test_flips_depend_on_the_image_not_the_batch():
    """On the run's seed and the image's index."""
    images = noise(100)
    alone = flipped(images, augmented(images, 0))
    order = np.random.default_rng(1).permutation(100)
    elsewhere = augmented(images[order], 0, indices=order, batch_seed=(8, 9))
    np.testing.assert_array_equal(flipped(images[order], elsewhere), alone[order])
    assert (flipped(images, augmented(images, 0, seed=4)) != alone).any()


def test_translations_are_crops_of_numpys_reflected_padding():
    """Every combination of shifts and flips, against np.pad and a slice."""
    from cifar_plugin.airbench.augmentation import flip_and_translate

    shifts = [(y, x) for y in range(-2, 3) for x in range(-2, 3)] * 2
    flip = np.arange(50) < 25
    images = noise(50)
    down, across = np.array(shifts, np.int32).T
    turned = np.where(flip[:, None, None, None], images[:, :, ::-1], images)
    padded = np.pad(turned, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="reflect")
    expected = np.stack(
        [p[2 + y : 34 + y, 2 + x : 34 + x] for p, (y, x) in zip(padded, shifts, strict=True)]
    )
    np.testing.assert_array_equal(flip_and_translate(images, flip, down, across), expected)


def test_translations_are_uniform():
    """25 of them for two pixels, each about as often as the others."""
    images = noise(1_000)
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="reflect")
    changed = augmented(images, 0, translate_pixels=2)
    counts = np.zeros((5, 5), int)
    for y in range(5):
        for x in range(5):
            crop = padded[:, y : y + 32, x : x + 32]
            for view in (crop, crop[:, :, ::-1]):
                counts[y, x] += (view == changed).all(axis=(1, 2, 3)).sum()
    assert counts.sum() == 1_000
    assert counts.min() > 15 and counts.max() < 75


def test_the_same_seeds_give_the_same_images():
    """And another batch seed gives others, of the same type."""
    images = noise(50)
    first = augmented(images, 1, 2)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, augmented(images, 1, 2))
    assert (first != augmented(images, 1, 2, batch_seed=(5, 7))).any()
