"""What changes one image of a pair into the other, in words."""

import pytest

from workbench.models.transforms import KINDS, describe

KNOWN = {"mirrored": False, "zoom": 1.0, "aspect": 1.0, "rotation": 0.0, "shift": [0.0, 0.0], "gain": 1.0, "offset": 0}


@pytest.mark.parametrize(
    ("transform", "words"),
    [
        (None, ""),
        ({}, ""),
        ({"mirrored": False}, ""),
        ({"mirrored": True}, "mirrored"),
        (KNOWN, "same framing and light"),
        (KNOWN | {"mirrored": True, "zoom": 1.1, "offset": 12.0}, "mirrored, shown 10 % larger, brighter"),
        (KNOWN | {"zoom": 0.9}, "shown 10 % smaller"),
        (KNOWN | {"zoom": 1.015}, "same framing and light"),  # what rounding does is no change
        (KNOWN | {"aspect": 1.08}, "8 % wider"),
        (KNOWN | {"aspect": 0.92}, "8 % narrower"),
        (KNOWN | {"rotation": -3.2}, "turned by 3°"),
        (KNOWN | {"shift": [-0.042, 0.03]}, "moved 4 % right and 3 % up"),
        (KNOWN | {"shift": [0.042, -0.03]}, "moved 4 % left and 3 % down"),
        (KNOWN | {"shift": [0.0, -0.03]}, "moved 3 % down"),
        (KNOWN | {"gain": 1.2, "offset": -20}, "darker, more contrast"),
        (KNOWN | {"gain": 0.8}, "less contrast"),
        (KNOWN | {"part": "top"}, "only the upper part is the same"),
        (KNOWN | {"part": "whole"}, "same framing and light"),
        ({"zoom": None, "shift": None, "rotation": None, "gain": None}, "same framing and light"),
    ],
)
def test_a_transform_in_words(transform: dict[str, object] | None, words: str) -> None:
    assert describe(transform) == words


def test_every_kind_is_named_once() -> None:
    assert len(set(KINDS)) == len(KINDS) == 5
