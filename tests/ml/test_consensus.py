"""Consensus of several reviewers: beside crowd-kit's Dawid-Skene, on simulated reviewers, and at the edges."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks import consensus as simulation
from ml import consensus
from tests.conftest import FER2013

VOTES = FER2013 / "ferplus.csv"
# made by crowd-kit 1.4.2 (Apache-2.0) with 300 iterations and no early end
CROWD_KIT = json.loads((Path(__file__).parent / "crowd_kit.json").read_text())


@pytest.mark.parametrize("name", ["plain", "known"])
def test_dawid_skene_equals_crowd_kit(name: str) -> None:
    said, truth = np.array(CROWD_KIT["said"]), np.array(CROWD_KIT["truth"])
    known = np.where(np.arange(len(said)) < 20, truth, -1) if name == "known" else None
    found = consensus.dawid_skene(said, categories=4, known=known, pull=0, iterations=300, tolerance=0)
    expected = np.array(CROWD_KIT[name])
    assert found.p == pytest.approx(expected.max(1), abs=1e-9)
    settled = found.category >= 0
    assert settled.sum() >= 79
    assert found.category[settled].tolist() == expected.argmax(1)[settled].tolist()


def simulate(
    skills: list[float], *, images: int, opinions: int, seed: int = 0, classes: int = 5
) -> tuple[NDArray[np.int16], NDArray[np.int64]]:
    """Said (N, R) and truth (N,): each image is asked of some; a reviewer is right as often as their skill says."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, images)
    said = np.full((images, len(skills)), -1, np.int16)
    for image in range(images):
        for reviewer in rng.permutation(len(skills))[:opinions]:
            right = rng.random() < skills[reviewer]
            said[image, reviewer] = truth[image] if right else (truth[image] + rng.integers(1, classes)) % classes
    return said, truth


def test_weighing_reviewers_beats_counting_them() -> None:
    skills = [0.95, 0.9, 0.85, 0.4, 0.35, 0.3]
    said, truth = simulate(skills, images=2000, opinions=3)
    counted = consensus.majority(said, categories=5)
    weighed = consensus.dawid_skene(said, categories=5)
    assert (weighed.category == truth).mean() > (counted.category == truth).mean() + 0.1
    assert weighed.quality == pytest.approx(skills, abs=0.05)
    sure = weighed.p >= 0.9
    assert (weighed.category == truth)[sure].mean() == pytest.approx(weighed.p[sure].mean(), abs=0.03)


@pytest.mark.fer
@pytest.mark.skipif(not VOTES.exists(), reason="FER+ votes are not there")
@pytest.mark.parametrize("opinions", [3, 5])
def test_weighing_beats_counting_on_the_votes_of_fer_plus(opinions: int) -> None:
    """The figures of docs/agreement.md, on the images of the validation split."""
    _, votes, truth = simulation.read_votes(VOTES, split="validation")
    said = simulation.simulate(votes, opinions=opinions, rng=np.random.default_rng(0))
    counted = simulation.score(consensus.majority(said, categories=7), truth)
    weighed = simulation.score(consensus.dawid_skene(said, categories=7), truth)
    assert weighed["right"] > counted["right"] + 0.1
    assert weighed["sure"] > counted["sure"] + 0.3
    assert weighed["sure_right"] > 0.9


def test_what_is_known_teaches_who_is_right() -> None:
    """Two who always err the same way outvote one who is right, until some images are known."""
    truth = np.arange(60) % 3
    said = np.stack([truth, (truth + 1) % 3, (truth + 1) % 3], axis=1)
    assert (consensus.dawid_skene(said, categories=3).category == truth).mean() == 0
    known = np.where(np.arange(60) < 12, truth, -1)
    found = consensus.dawid_skene(said, categories=3, known=known, pull=1)
    assert found.category.tolist() == truth.tolist()
    assert found.quality[0] > found.quality[1]


def test_majority_leaves_ties_and_silence_open() -> None:
    said = np.array([[0, 0, 1], [0, 1, -1], [2, -1, -1], [-1, -1, -1], [0, 1, 2]])
    found = consensus.majority(said, categories=3)
    assert found.category.tolist() == [0, -1, 2, -1, -1]
    assert found.p == pytest.approx([2 / 3, 1 / 2, 1, 0, 1 / 3])
    assert found.quality == pytest.approx([1, 1, 0], nan_ok=True)


def test_a_reviewer_without_opinions_has_no_quality() -> None:
    said = np.array([[0, -1], [1, -1]])
    for found in (consensus.majority(said, categories=2), consensus.dawid_skene(said, categories=2)):
        assert found.category.tolist() == [0, 1]
        assert np.isnan(found.quality[1])


def test_nothing_said_is_no_consensus() -> None:
    for said in (np.empty((0, 3), int), np.full((2, 3), -1)):
        for found in (consensus.majority(said, categories=4), consensus.dawid_skene(said, categories=4)):
            assert found.category.tolist() == [-1] * len(said)
            assert found.p.tolist() == [0.0] * len(said)


def test_three_opinions_make_nobody_a_fool() -> None:
    """Somebody new who differed three times still counts; without the pull they would be read as always wrong."""
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 3, 300)
    veterans = np.where(rng.random((300, 3)) < 0.85, truth[:, None], rng.integers(0, 3, (300, 3)))
    said = np.column_stack([veterans, np.full(300, -1)])
    said[:3, 3] = (truth[:3] + 1) % 3
    found = consensus.dawid_skene(said, categories=3)
    alone = consensus.dawid_skene(said, categories=3, pull=0)
    assert found.quality[3] > alone.quality[3]
