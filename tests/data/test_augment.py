"""Augmentation against plain NumPy."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jdarts.data import AugmentSpec, DataConfig, augment, augment_spec, load, normalise

OFF = AugmentSpec(0, False, 0, mean=(0.0,) * 3, std=(1 / 255,) * 3)  # pixels unchanged
CROP = dataclasses.replace(OFF, crop_padding=2)
FLIP = dataclasses.replace(OFF, flip=True)
CUTOUT = dataclasses.replace(OFF, cutout=4)
ALL = AugmentSpec(2, True, 3, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
B, H, W = 1500, 7, 9
# No two pixels of an image are alike, so that an output tells where it is from.
IMAGE = np.random.default_rng(0).permutation(np.arange(1, 190)).astype(np.uint8)
IMAGE = IMAGE.reshape(H, W, 3)
IMAGES = jnp.asarray(np.tile(IMAGE, (B, 1, 1, 1)))


@partial(jax.jit, static_argnames=("spec", "dtype"))
def run(key, images, spec, dtype=jnp.float32):
    return augment(key, images, spec, dtype)


def pixels(spec, seed=0, images=IMAGES):
    """The augmented batch; with OFF's mean and std its values are pixels again."""
    values = np.asarray(run(jax.random.key(seed), images, spec))
    rounded = np.rint(values)
    np.testing.assert_allclose(values, rounded, atol=1e-3)
    return rounded.astype(int)


def counts(images, candidates):
    """How often each candidate occurs; fails if an image is none of them."""
    flat = candidates.reshape(len(candidates), -1)
    equal = (images.reshape(len(images), 1, -1) == flat).all(-1)
    assert (equal.sum(1) == 1).all()
    return equal.sum(0)


def check_uniform(found):
    """Chi-squared within 6 standard deviations of its mean."""
    expected = found.sum() / len(found)
    statistic = ((found - expected) ** 2 / expected).sum()
    freedom = len(found) - 1
    assert abs(statistic - freedom) < 6 * np.sqrt(2 * freedom)


def test_all_off_changes_nothing():
    np.testing.assert_array_equal(pixels(OFF), IMAGES)


def test_crop_is_any_window_of_the_padded_image():
    padded = np.pad(IMAGE, ((2, 2), (2, 2), (0, 0)))
    windows = [padded[r : r + H, c : c + W] for r in range(5) for c in range(5)]
    found = counts(pixels(CROP), np.stack(windows))
    assert (found > 0).all()
    check_uniform(found)


def test_flip_is_left_to_right_in_half_of_the_cases():
    check_uniform(counts(pixels(FLIP), np.stack([IMAGE, IMAGE[:, ::-1]])))


@pytest.mark.parametrize(("side", "width"), [(4, W), (5, H)], ids=["even", "odd"])
def test_cutout_is_a_square_around_any_pixel(side, width):
    """Also of a square image: its rows and columns must not be drawn alike."""

    def blanked(row, column):
        image = IMAGE[:, :width].copy()
        top, left = row - side // 2, column - side // 2
        for r in range(max(top, 0), min(top + side, H)):
            for c in range(max(left, 0), min(left + side, width)):
                image[r, c] = 0
        return image

    squares = np.stack([blanked(r, c) for r in range(H) for c in range(width)])
    spec = dataclasses.replace(OFF, cutout=side)
    check_uniform(counts(pixels(spec, images=IMAGES[:, :, :width]), squares))


def test_cutout_is_zero_after_normalisation_and_padding_is_black_before():
    values = np.asarray(run(jax.random.key(0), IMAGES, ALL))
    black = -np.array(ALL.mean) / ALL.std
    is_black = np.isclose(values, black, atol=1e-5).all(-1)
    is_cut = (values == 0).all(-1)
    plain = np.asarray(
        run(jax.random.key(0), IMAGES, dataclasses.replace(ALL, cutout=0))
    )
    assert not (plain == 0).all(-1).any() and is_cut.any((1, 2)).all()
    # Two programs: the last bit may differ.
    np.testing.assert_allclose(values[~is_cut], plain[~is_cut], rtol=1e-5, atol=1e-6)
    # Mean padding: 1.2 of 7 rows and 1.2 of 9 columns, less what both have in common.
    share = 1 - (1 - 1.2 / H) * (1 - 1.2 / W)
    padded = np.isclose(plain, black, atol=1e-5).all(-1)
    assert abs(padded.mean() - share) < 0.02 and is_black.sum() < padded.sum()


def test_all_together_as_numpy():
    """Each output is one crop, perhaps flipped, then normalised, then cut out."""
    padded = np.pad(IMAGE, ((2, 2), (2, 2), (0, 0)))
    windows = np.stack(
        [
            padded[r : r + H, c : c + W][:, ::d]
            for r in range(5)
            for c in range(5)
            for d in (1, -1)
        ]
    )
    candidates = (windows / 255 - ALL.mean) / ALL.std
    values = np.asarray(run(jax.random.key(1), IMAGES, ALL))[:200]
    seen = set()
    for value in values:
        kept = ~(value == 0).all(-1)
        match = np.isclose(candidates, value, atol=1e-5).all(-1) | ~kept
        (window,) = np.flatnonzero(match.all((1, 2)))
        seen.add(window)
        rows, columns = np.flatnonzero(~kept.all(1)), np.flatnonzero(~kept.all(0))
        assert (~kept).sum() == len(rows) * len(columns)
        assert 2 <= len(rows) <= 3 and 2 <= len(columns) <= 3
    assert len(seen) > 40


@pytest.mark.parametrize("channels", [1, 3])
def test_normalise_as_numpy(channels):
    spec = AugmentSpec(4, True, 8, (0.49, 0.48, 0.44)[:channels], (0.2,) * channels)
    images = np.random.default_rng(0).integers(0, 256, (5, 6, 7, channels), np.uint8)
    expected = (images / 255 - np.array(spec.mean)) / np.array(spec.std)
    values = normalise(jnp.asarray(images), spec)
    assert values.dtype == jnp.float32
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_dtype(dtype):
    key = jax.random.key(0)
    values = run(key, IMAGES, ALL, dtype)
    assert values.dtype == dtype
    full = run(key, IMAGES, ALL, jnp.float32)
    # Rounded once: half of bfloat16's spacing. Computed in bfloat16, the difference
    # `x / 255 - mean` would lose far more.
    values = np.asarray(values.astype(jnp.float32))
    np.testing.assert_allclose(values, full, rtol=1.01 * 2**-8, atol=1e-6)


@pytest.mark.parametrize("spec", [CROP, FLIP, CUTOUT], ids=["crop", "flip", "cutout"])
def test_key_decides(spec):
    first = pixels(spec, seed=1)
    np.testing.assert_array_equal(first, pixels(spec, seed=1))
    assert (first != pixels(spec, seed=2)).any()
    assert len(np.unique(first, axis=0)) > 1  # images differ inside the batch


def test_transformations_are_independent():
    """Flip and crop offset of the same image are not correlated."""
    both = pixels(dataclasses.replace(CROP, flip=True))
    crops = pixels(CROP)  # same key, so the same windows
    flipped = (both == crops[:, :, ::-1]).all((1, 2, 3))
    np.testing.assert_array_equal(both[~flipped], crops[~flipped])
    left = (crops[:, :, 0] == 0).all((1, 2))  # the window hangs over on the left
    assert abs(flipped[left].mean() - flipped[~left].mean()) < 0.16  # 6 sigma


def test_channels_do_not_fit():
    with pytest.raises(ValueError, match="for images of 1 channels"):
        normalise(jnp.zeros((2, 4, 4, 1), jnp.uint8), OFF)


def test_spec_from_the_configuration():
    config = DataConfig(crop_padding=1, flip=False, cutout=3)
    images = load(config)
    assert augment_spec(config, images) == AugmentSpec(
        1, False, 3, images.mean, images.std
    )
    run_it = partial(augment, spec=augment_spec(config, images))
    values = jax.eval_shape(run_it, jax.random.key(0), images.train_images[:8])
    assert values.shape == (8, 8, 8, 1) and values.dtype == jnp.float32
