"""Hiding regions of images."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ml.occlude import BANDS, REGIONS, hide_region, measure_share, parse_region
from ml.predict import load_model, predict
from ml.train import TrainResult, train
from tests.ml.drawing import draw_bars, tiny_config


def draw(count: int = 2, *, size: int = 8, channels: int = 1) -> torch.Tensor:
    return torch.full((count, channels, size, size), 200, dtype=torch.uint8)


def test_a_region_is_black_and_nothing_else_changes() -> None:
    images = draw()

    hidden = hide_region(images, "eyes")

    assert hidden[:, :, 2:4].eq(0).all()
    assert torch.equal(hidden[:, :, :2], images[:, :, :2])
    assert torch.equal(hidden[:, :, 4:], images[:, :, 4:])


def test_the_images_given_stay_as_they_are_so_masks_cannot_stack() -> None:
    images = draw()

    hide_region(images, "top")
    hidden = hide_region(images, "lower")

    assert images.eq(200).all()
    assert hidden[:, :, :4].eq(200).all()
    assert hidden[:, :, 4:].eq(0).all()


def test_hiding_twice_is_hiding_once() -> None:
    once = hide_region(draw(), "rows:25-37.5")

    assert torch.equal(hide_region(once, "rows:25-37.5"), once)


def test_no_mask_gives_the_images_themselves() -> None:
    images = draw()

    assert hide_region(images, "none") is images


def test_a_fill_is_rounded_to_whole_values_per_channel() -> None:
    hidden = hide_region(draw(channels=3), "top", fill=torch.tensor([10.4, 20.6, 0.0]))

    assert hidden[0, :, 0, 0].tolist() == [10, 21, 0]


def test_bands_and_regions_cover_the_image_once() -> None:
    for names in (tuple(REGIONS), BANDS):
        covered = sum(hide_region(draw(1, size=48), name).eq(0).long() for name in names)
        assert torch.equal(covered, torch.ones_like(covered))
        assert sum(measure_share(name) for name in names) == pytest.approx(1)


@pytest.mark.parametrize("mask", ["forehead", "rows:50-50", "rows:60-40", "rows:0-101", "rows:-1-4", ""])
def test_an_unknown_mask_is_refused_with_those_that_there_are(mask: str) -> None:
    with pytest.raises(ValueError, match="mask must be none, top, eyes, lower or rows:A-B in percent"):
        parse_region(mask)


def test_a_mask_hides_alike_in_training_and_in_predicting(tmp_path: Path) -> None:
    images, labels = draw_bars(24)
    config = tiny_config(mask="lower", epochs=2)

    def fit(pixels: np.ndarray, folder: str) -> TrainResult:
        return train(
            pixels, labels, train_indices=np.arange(16), validation_indices=np.arange(16, 24), class_count=2,
            config=config, folder=tmp_path / folder,
        )  # fmt: skip

    other = images.copy()
    other[:, :, images.shape[2] // 2 :] = 255 - other[:, :, images.shape[2] // 2 :]
    model = load_model(fit(images, "a").checkpoint)

    assert np.array_equal(predict(model, images)[0], predict(model, other)[0])
    assert np.array_equal(predict(load_model(fit(other, "b").checkpoint), images)[0], predict(model, images)[0])
    assert model.config.mask == "lower"
    assert float(model.mean) == pytest.approx(images[:16, :, : images.shape[2] // 2].mean() / 2, abs=1e-3)


def test_a_training_refuses_an_unknown_mask() -> None:
    with pytest.raises(ValueError, match="mask must be"):
        tiny_config(mask="nose")
