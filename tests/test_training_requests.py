"""Trainings as pages ask for them; the run page's helpers for cells and curves."""

import numpy as np
import pytest
from sqlalchemy.orm import Session

from tests.trained_runs import write_curves
from workbench.config import Home
from workbench.models import Dataset, Run, User
from workbench.services.confusions import count_confusions, list_cell, list_confusions, said_of
from workbench.services.curves import read_curves
from workbench.services.evaluations import Judged
from workbench.services.training_requests import TrainingRequest, ask_for_training, command_of


@pytest.mark.parametrize(
    ("asked", "command"),
    [
        (
            TrainingRequest(folds=0, promote=False),
            "workbench train --dataset pets --arch compact --preset quick --seed 0",
        ),
        (
            TrainingRequest(
                arch="resnet18",
                preset="standard",
                folds=5,
                seed=3,
                balance="weigh",
                settings={"epochs": 7, "patience": 2},
            ),
            (
                "workbench train --dataset pets --arch resnet18 --preset standard --epochs 7 --folds 5 --seed 3 "
                "--set class_weighting=balanced --set patience=2 --promote"
            ),
        ),
        (
            TrainingRequest(folds=0, leave_out="near", promote=False),
            "workbench train --dataset pets --arch compact --preset quick --seed 0 --set leave_out=near",
        ),
        (
            TrainingRequest(folds=0, vary="unmirrored", promote=False),
            "workbench train --dataset pets --arch compact --preset quick --seed 0 --set flip=false",
        ),
    ],
)
def test_a_run_can_be_asked_for_again_from_the_command_line(
    session: Session, pets: Dataset, alice: User, asked: TrainingRequest, command: str
) -> None:
    assert command_of(pets, ask_for_training(session, dataset=pets, user=alice, request=asked)) == command


def test_nested_settings_and_odd_names_are_written_for_a_shell(pets: Dataset) -> None:
    pets.name = "my pets"
    run = Run(
        arch="compact", preset="quick", config={"overrides": {"augment": {"shift": 0.0, "zoom": 0.05}}, "seed": 1}
    )
    assert command_of(pets, run) == (
        "workbench train --dataset 'my pets' --arch compact --preset quick --seed 1 "
        "--set augment.shift=0 --set augment.zoom=0.05"
    )


JUDGED = Judged(
    split="test",
    image_ids=np.array([3, 5, 7, 9]),
    probs=np.array([[0.6, 0.4], [0.3, 0.7], [0.1, 0.9], [0.3, 0.7]]),
    labels=np.array([0, 0, 0, 1]),
    class_ids=(1, 2),
    class_names=("cat", "dog"),
)


def test_a_cell_lists_the_surest_first_and_ties_by_id() -> None:
    assert [image.image_id for image in list_cell(JUDGED, true="cat", predicted="dog")] == [7, 5]
    assert [image.image_id for image in list_cell(JUDGED, true="cat", predicted="dog", limit=1)] == [7]
    assert list_cell(JUDGED, true="dog", predicted="cat") == []
    assert list_cell(JUDGED, true="owl", predicted="cat") == []


def test_confusions_are_counted_row_by_row() -> None:
    assert count_confusions(JUDGED).tolist() == [[1, 2], [0, 1]]
    pair = {"true": "cat", "predicted": "dog", "n": 2, "share": 2 / 3}
    assert [image.image_id for image in list_confusions(JUDGED, [pair], examples=1)[0].images] == [7]


def test_what_a_run_said_is_found_by_image() -> None:
    assert said_of(JUDGED, [9, 3]) == {9: ("dog", 0.7), 3: ("cat", 0.6)}
    assert said_of(JUDGED, []) == {}


def test_curves_are_read_up_to_a_line_that_is_being_written(home: Home) -> None:
    assert read_curves(home, 1) == []
    write_curves(home, 1, epochs=2, of=5)
    path = home.run_folder(1) / "metrics.jsonl"
    path.write_text(path.read_text() + '{"epoch": 3, "train_l')
    assert [(epoch.epoch, epoch.epochs, epoch.train_loss) for epoch in read_curves(home, 1)] == [
        (1, 5, 2.0),
        (2, 5, 1.0),
    ]
