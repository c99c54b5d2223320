"""Images made worse."""

import cv2
import numpy as np
import pytest
import torch

from ml.corrupt import CORRUPTIONS, corrupt
from tests.ml.drawing import draw_bars


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(count: int = 6, *, channels: int = 1) -> torch.Tensor:
    return torch.from_numpy(draw_bars(count, side=24, channels=channels)[0])


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("channels", [1, 3])
def test_more_strength_is_further_from_the_image(name: str, channels: int) -> None:
    images = draw(channels=channels)
    strengths = [strength for strength in CORRUPTIONS[name].strengths if strength > 0]

    distances = [
        float((corrupt(images, name, strength, generator=seeded()).float() - images.float()).abs().mean())
        for strength in strengths
    ]

    assert distances == sorted(distances)
    assert distances[-1] > 3


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_strength_zero_no_images_and_the_images_given(name: str) -> None:
    images = draw()
    before = images.clone()

    assert torch.equal(corrupt(images, name, 0, generator=seeded()), images)
    assert corrupt(images[:0], name, 10, generator=seeded()).shape == (0, 1, 24, 24)
    worse = corrupt(images, name, CORRUPTIONS[name].strengths[-1], generator=seeded())

    assert torch.equal(images, before)
    assert (worse.dtype, worse.shape) == (torch.uint8, images.shape)


@pytest.mark.parametrize("name", ["noise", "rotation"])
def test_the_generator_decides_what_is_drawn(name: str) -> None:
    images = draw()

    first, same, other = (corrupt(images, name, 20, generator=seeded(seed)) for seed in (1, 1, 2))

    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_blur_is_opencvs() -> None:
    image = draw(1)
    reach = 3  # ours reaches three standard deviations, rounded up: give OpenCV the same window
    expected = cv2.GaussianBlur(
        image[0, 0].numpy().astype(np.float64), (2 * reach + 1, 2 * reach + 1), 0.72, borderType=cv2.BORDER_REFLECT_101
    )

    blurred = corrupt(image, "blur", 3, generator=seeded())

    np.testing.assert_allclose(blurred[0, 0].numpy(), expected, atol=0.51)


def test_rotation_of_a_picture_that_looks_alike_from_everywhere_changes_its_inside_little() -> None:
    rows, columns = np.mgrid[:32, :32] - 15.5
    disc = torch.from_numpy((255 * np.exp(-(rows**2 + columns**2) / 60)).astype(np.uint8))[None, None]

    turned = corrupt(disc, "rotation", 45, generator=seeded())

    inside = torch.from_numpy(rows**2 + columns**2 < 15**2)
    assert (turned.float() - disc.float())[0, 0][inside].abs().max() < 4


def test_brightness_goes_both_ways_and_stays_in_range() -> None:
    images = torch.tensor([0, 100, 250], dtype=torch.uint8).view(1, 1, 1, 3)

    lighter, darker = (corrupt(images, "brightness", by, generator=seeded()) for by in (20, -20))

    assert lighter.flatten().tolist() == [51, 151, 255]
    assert darker.flatten().tolist() == [0, 49, 199]
