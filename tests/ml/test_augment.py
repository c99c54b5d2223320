import numpy as np
import pytest
import torch
from scipy import ndimage

from ml.augment import Augmentation, augment, draw_matrices
from tests.ml.drawing import draw_bars

NOTHING = dict.fromkeys(("flip", "shift", "rotation", "zoom", "brightness", "contrast", "erasing"), 0.0)


def vary(images, *, seed=0, **strengths):
    return augment(
        torch.as_tensor(images), Augmentation(**{**NOTHING, **strengths}), generator=torch.Generator().manual_seed(seed)
    )


@pytest.fixture
def images():
    return torch.from_numpy(draw_bars(64, side=16, channels=3)[0])


def test_no_strength_changes_nothing(images):
    assert torch.equal(vary(images), images.float())


def test_flip_mirrors_exactly_about_half(images):
    out = vary(images, flip=0.5)
    kept = (out == images).flatten(1).all(1)
    mirrored = (out == images.flip(3)).flatten(1).all(1)
    assert bool((kept | mirrored).all())
    assert 15 < int(kept.sum()) < 49
    assert torch.equal(vary(images, flip=1.0), images.flip(3).float())


def test_mirroring_by_resampling_equals_mirroring(images):
    out = vary(images, flip=1.0, shift=1e-9)
    np.testing.assert_allclose(out.numpy(), images.flip(3).numpy(), atol=0.1)


def test_rotation_equals_scipy(images):
    generator = torch.Generator().manual_seed(5)
    strengths = Augmentation(**{**NOTHING, "rotation": 30.0})
    matrix = draw_matrices(1, strengths, generator)[0, :, :2].numpy()
    angle = float(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0])))
    assert abs(angle) > 1
    picture = np.zeros((16, 16), np.uint8)
    picture[4:12, 5:9] = 200  # away from the borders, where the two treat the outside differently
    out = vary(picture[None, None], rotation=30.0, seed=5)[0, 0].numpy()
    expected = ndimage.rotate(picture.astype(float), angle, reshape=False, order=1)
    np.testing.assert_allclose(out[3:13, 3:13], expected[3:13, 3:13], atol=2.0)


def test_shear_leans_upright_lines_within_its_reach():
    picture = torch.zeros(1, 1, 21, 21)
    picture[..., 10] = 255.0  # an upright line through the middle
    leans = []
    for seed in range(40):
        out = vary(picture, seed=seed, shear=45.0)
        tops, bottoms = out[0, 0, 3].argmax().item(), out[0, 0, 17].argmax().item()
        assert out[0, 0, 10].argmax().item() == 10  # the middle stays
        leans.append((tops - bottoms) / 14)
    assert -1 <= min(leans) < -0.7
    assert 0.7 < max(leans) <= 1


def test_no_shear_draws_what_was_drawn_before_there_was_one(images):
    assert torch.equal(vary(images, rotation=5.0), vary(images, rotation=5.0, shear=0.0))


def test_shift_stays_within_its_reach():
    picture = np.zeros((200, 1, 21, 21), np.uint8)
    picture[:, :, 10, 10] = 255
    out = vary(picture, shift=0.2).numpy()[:, 0]
    centres = np.array([ndimage.center_of_mass(image) for image in out]) - 10
    assert np.abs(centres).max() <= 0.2 * 21 + 0.1
    assert np.abs(centres).max() > 3
    assert np.abs(centres.mean(0)).max() < 0.6


def test_light_moves_means_and_distances(images):
    brighter = vary(images, brightness=0.1).mean((1, 2, 3)) - images.float().mean((1, 2, 3))
    assert float(brighter.abs().max()) <= 25.5 + 0.01
    assert float(brighter.abs().max()) > 5
    grey = torch.full((8, 1, 4, 4), 100, dtype=torch.uint8)
    assert torch.equal(vary(grey, contrast=0.9), grey.float())
    extremes = vary(images, brightness=1.0, contrast=1.0)
    assert float(extremes.min()) >= 0
    assert float(extremes.max()) <= 255


def test_erasing_puts_the_mean_into_one_rectangle(images):
    out = vary(images, erasing=1.0, erasing_size=0.5)
    changed = (out != images).any(1)  # (B, H, W)
    means = images.float().mean((2, 3), keepdim=True).expand_as(out)
    assert torch.equal(out[out != images], means[out != images])
    assert bool((changed.any(2).sum(1) <= 8).all())
    assert float(changed.any(2).any(1).float().mean()) > 0.8
    assert torch.equal(vary(images, erasing=1e-9), images.float())


def test_augment_is_deterministic_and_leaves_its_input(images):
    before = images.clone()
    strengths = Augmentation(erasing=0.5)
    first, second = (augment(images, strengths, generator=torch.Generator().manual_seed(1)) for _ in range(2))
    other = augment(images, strengths, generator=torch.Generator().manual_seed(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(images, before)
    assert first.dtype == torch.float32
    assert first.shape == images.shape


def test_augment_takes_no_image_and_one_pixel():
    assert vary(np.zeros((0, 1, 4, 4), np.uint8), shift=0.1).shape == (0, 1, 4, 4)
    assert vary(np.full((2, 1, 1, 1), 9, np.uint8), contrast=0.5, flip=1.0).tolist() == [[[[9.0]]], [[[9.0]]]]


@pytest.mark.parametrize(("name", "value"), [("flip", 1.1), ("shift", -0.1), ("zoom", float("nan"))])
def test_strength_out_of_range_is_refused(name, value):
    with pytest.raises(ValueError, match=f"augment.{name} must be between 0 and"):
        Augmentation(**{name: value})
