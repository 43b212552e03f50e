"""The first layer makes patches of the images it was made from uncorrelated."""

import numpy as np

from cifar_plugin.airbench.whitening import whitening_kernel


def smooth_images():
    """Neighbouring pixels and channels are alike, as in photographs."""
    random = np.random.default_rng(0)
    images = random.normal(size=(40, 12, 12, 3)).cumsum(axis=1).cumsum(axis=2)
    return images @ np.array([[1.0, 0.8, 0.7], [0.0, 0.3, 0.2], [0.0, 0.0, 0.1]]) / 10


def patches(images):
    """Each 2 × 2 patch by itself, one after the other, in the order of a Conv2D kernel."""
    count, height, width, _ = images.shape
    return np.array(
        [
            images[n, y : y + 2, x : x + 2].ravel()
            for n in range(count)
            for y in range(height - 1)
            for x in range(width - 1)
        ]
    )


def test_whitened_patches_have_the_identity_as_covariance():
    """Without an epsilon, for the components and for their negatives."""
    images = smooth_images()
    kernel = whitening_kernel(images, epsilon=0.0)
    assert kernel.shape == (2, 2, 3, 24)
    answers = patches(images) @ kernel.reshape(12, 24)
    covariance = answers.T @ answers / len(answers)
    np.testing.assert_allclose(covariance[:12, :12], np.eye(12), atol=1e-8)
    np.testing.assert_allclose(answers[:, 12:], -answers[:, :12])


def test_components_are_the_singular_vectors_of_the_patches():
    """An independent computation, up to signs; epsilon limits small components."""
    images = smooth_images()
    found = patches(images)
    _, strengths, vectors = np.linalg.svd(found, full_matrices=False)
    variances = strengths**2 / len(found)
    expected = (vectors / np.sqrt(variances + 5e-4)[:, None])[::-1].T
    kernel = whitening_kernel(images).reshape(12, 24)[:, :12]
    np.testing.assert_allclose(np.abs(kernel), np.abs(expected), rtol=1e-5, atol=1e-8)
