"""What a run's page says about how it was trained."""

from typing import Any

import pytest

from ml.configs import make_config, write_config
from workbench.services.training_descriptions import describe_training


def describe(preset: str = "quick", **overrides: Any) -> dict[str, str]:
    return dict(describe_training({"training": write_config(make_config(preset, **overrides))}))


def test_the_plain_training_in_words() -> None:
    asked = {"learning_rate": 0.008, "warmup": 0.2, "batch_size": 128, "label_smoothing": 0.1, "optimizer": "adamw"}
    asked |= {"augment.shift": 0.05, "augment.rotation": 5, "augment.zoom": 0.05}
    assert describe(**asked) == {
        "Seen": "48 × 48 pixels, grey; normalised by the mean and spread of its training images",
        "Varied": (
            "mirror images, shifts up to 5 % of the side, rotation up to 5°, zoom up to 5 %; training images only"
        ),
        "Learned": (
            "AdamW, learning rate up to 0.008 over the first 20 %, then down along a cosine, batches of up to 128, "
            "labels smoothed by 0.1"
        ),
    }


@pytest.mark.parametrize(
    ("overrides", "heading", "words"),
    [
        ({"schedule": "step", "decay": 0.3, "decay_epochs": 2}, "Learned", "then times 0.3 every 2 epochs"),
        ({"schedule": "plateau"}, "Learned", "epochs without a lower loss"),
        ({"schedule": "constant", "warmup": 0}, "Learned", "learning rate up to 0.008, then constant"),
        (
            {"processes": 2, "patience": 5},
            "Learned",
            "stopping after 5 epochs without a better one on validation, in 2",
        ),
        (
            {"sampling": "balanced", "class_weighting": "balanced"},
            "Classes",
            "drawn equally often, each weighs the same",
        ),
        ({"mask": "eyes", "channels": 3}, "Seen", "colour, the region “eyes” hidden from every image"),
        ({"augment.shear": 8, "flip": False}, "Varied", "shear up to 8°"),
    ],
)
def test_what_was_asked_for_is_said(overrides: dict[str, Any], heading: str, words: str) -> None:
    assert words in describe(learning_rate=0.008, **overrides)[heading]


def test_images_that_do_not_vary_are_said_to() -> None:
    nothing = dict.fromkeys(("flip", "shift", "rotation", "zoom", "brightness", "contrast", "erasing"), 0)
    assert describe(augment=nothing)["Varied"] == "not at all"


def test_data_steps_are_said_with_what_they_did() -> None:
    training = write_config(make_config())
    config = {"training": training, "data_steps": {"max_per_class": 500}, "counts": {"capped": 21}}
    assert dict(describe_training(config))["Data steps"] == (
        "At most 500 images of a class taught, drawn by the seed: 21 did not."
    )


@pytest.mark.parametrize("config", [{"overrides": {}}, {"training": {"epochs": 3}}])
def test_a_run_that_was_not_trained_says_nothing(config: dict[str, Any]) -> None:
    assert describe_training(config) == []


def test_the_program_that_trained_is_told_where_it_is_known() -> None:
    config = {"training": write_config(make_config()), "program": {"workbench": "1", "torch": "2.13", "ml": "ab12"}}
    assert dict(describe_training(config))["Program"] == "workbench 1, torch 2.13, code ab12"
