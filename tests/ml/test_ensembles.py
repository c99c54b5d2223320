"""Ensembles answer with the mean of what their members answer."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ml.configs import TrainConfig, make_config
from ml.ensembles import write_ensemble
from ml.models.classifier import count_parameters
from ml.predict import load_model, predict
from ml.train import train

TINY = make_config("quick", image_size=16, epochs=1, threads=1, precision="float32", batch_size=16)


def draw(count: int, *, bright: int = 0, seed: int = 0) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    return rng.integers(bright, bright + 128, (count, 1, 16, 16), dtype=np.uint8)


def fit(folder: Path, config: TrainConfig, *, bright: int = 0, class_count: int = 3) -> Path:
    labels = np.arange(24) % class_count
    rows = np.arange(24)
    return train(
        draw(24, bright=bright), labels, train_indices=rows, validation_indices=rows[:0], class_count=class_count,
        config=config, folder=folder,
    ).checkpoint  # fmt: skip


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three models of two architectures; the images of the last were brighter, so that it normalises otherwise."""
    folder = tmp_path_factory.mktemp("members")
    return [
        fit(folder / "0", TINY),
        fit(folder / "1", replace(TINY, arch="three_conv", widths="4,4,4,8", seed=1)),
        fit(folder / "2", replace(TINY, seed=2, hidden=4), bright=100),
    ]


def test_the_answer_is_the_mean_of_the_members(members: list[Path], tmp_path: Path) -> None:
    model = load_model(write_ensemble(members, tmp_path))
    images = draw(9, bright=40, seed=5)
    probs, features = predict(model, images)
    each = [predict(load_model(member), images) for member in members]
    np.testing.assert_allclose(probs, np.mean([one for one, _ in each], axis=0), atol=1e-6)
    assert features.shape == (9, model.feature_count) == (9, 288 + 8 + 288)
    for place, (_, own) in zip((0, 288, 296), each, strict=True):
        unit = own / np.linalg.norm(own, axis=1, keepdims=True)
        np.testing.assert_allclose(features[:, place : place + own.shape[1]], unit, atol=1e-5)
    assert model.config.arch == "ensemble"
    assert count_parameters(model.net) == sum(count_parameters(load_model(member).net) for member in members)


def test_the_file_stands_alone(members: list[Path], tmp_path: Path) -> None:
    copies = []
    for place, member in enumerate(members):
        copies.append(tmp_path / f"{place}.pt")
        copies[-1].write_bytes(member.read_bytes())
    checkpoint = write_ensemble(copies, tmp_path)
    images = draw(4)
    before = predict(load_model(checkpoint), images)[0]
    for path in copies:
        path.unlink()
    assert np.array_equal(predict(load_model(checkpoint), images)[0], before)


def test_its_backbone_gives_the_features(members: list[Path], tmp_path: Path) -> None:
    net = load_model(write_ensemble(members[:2], tmp_path)).net
    images = torch.rand(2, 1, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(net.backbone(images), net.forward_both(images)[1])


def test_members_that_do_not_go_together_are_refused(members: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="two members at least"):
        write_ensemble(members[:1], tmp_path / "one")
    (tmp_path / "whole").mkdir()
    whole = write_ensemble(members[:2], tmp_path / "whole")
    with pytest.raises(ValueError, match="a member is an ensemble itself"):
        write_ensemble([members[0], whole], tmp_path / "nested")
    larger = fit(tmp_path / "larger", replace(TINY, image_size=16, mask="top"))
    with pytest.raises(ValueError, match="must see the same images: mask is none and top"):
        write_ensemble([members[0], larger], tmp_path / "masked")
    pair = fit(tmp_path / "pair", TINY, class_count=2)
    with pytest.raises(ValueError, match="must know the same classes"):
        write_ensemble([members[0], pair], tmp_path / "classes")


def test_nothing_is_trained_from_an_ensemble(members: list[Path], tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    whole = write_ensemble(members[:2], tmp_path / "whole")
    rows = np.arange(24)
    with pytest.raises(ValueError, match="the run to start from has another architecture or image size"):
        train(draw(24), rows % 3, train_indices=rows, validation_indices=rows[:0], class_count=3, config=TINY,
              folder=tmp_path / "next", initial=whole)  # fmt: skip
