"""Whether faces are seen: on FER2013's 48-pixel faces where they are at hand, on drawings else."""

import io
import zipfile

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Picture

from ml.faces import DOUBTFUL, SURE, find_detector, look_for_faces
from tests.conftest import FER2013

DETECTORS = sorted({"cascades", find_detector()})


@pytest.fixture(scope="module")
def faces() -> list[NDArray[np.uint8]]:
    """Forty faces of FER2013, drawn evenly."""
    source = FER2013 / "fer2013.zip"
    if not source.exists():
        pytest.skip("FER2013 is not at hand")
    with zipfile.ZipFile(source) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".png"))
        chosen = names[:: len(names) // 40][:40]
        return [np.asarray(Picture.open(io.BytesIO(archive.read(name))).convert("L")) for name in chosen]


@pytest.mark.parametrize("detector", DETECTORS)
def test_faces_are_seen_and_noise_is_none(faces: list[NDArray[np.uint8]], detector: str) -> None:
    some, wanted = {"yunet": (faces, 39), "cascades": (faces[:10], 8)}[detector]
    sure = [look_for_faces(face, detector=detector).confidence >= SURE for face in some]
    assert sum(sure) >= wanted
    noise = np.random.default_rng(0).integers(0, 255, (48, 48)).astype(np.uint8)
    assert look_for_faces(noise, detector=detector).confidence < DOUBTFUL


def test_two_faces_beside_each_other_are_two(faces: list[NDArray[np.uint8]]) -> None:
    detector = find_detector()
    pairs = [np.hstack([faces[place], faces[place + 1]]) for place in range(0, 12, 2)]
    counts = [look_for_faces(pair, detector=detector).count for pair in pairs]
    assert sum(count == 2 for count in counts) >= 4
    assert max(look_for_faces(face, detector=detector).count for face in faces[:12]) == 1


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (7, 5, 3), (50, 30, 4), (700, 500)])
def test_any_picture_can_be_looked_at(shape: tuple[int, ...]) -> None:
    blank = np.full(shape, 128, np.uint8)
    seen = look_for_faces(blank, detector=find_detector())
    assert (seen.confidence < DOUBTFUL, seen.count) == (True, 0)
    with pytest.raises(ValueError, match="at least one pixel"):
        look_for_faces(np.zeros((0, 4), np.uint8), detector=find_detector())
