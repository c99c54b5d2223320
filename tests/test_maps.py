"""Maps: their order, their file, what colours them, what lies in their regions, the job and its command."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image as Picture
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.conftest import make_pets
from tests.maps import add_map
from tests.trained_runs import add_run
from workbench.config import Home
from workbench.db import Database
from workbench.errors import Invalid, NotFound
from workbench.models import Dataset, Finding, Image, Run, User
from workbench.services import decisions, jobs, map_states, maps
from workbench.services.map_pictures import paint_density
from workbench.services.map_states import MODES, Sign, States
from workbench.services.maps import SIDE
from workbench.services.predictions import load_predictions, save_predictions
from workbench.worker.context import Context
from workbench.worker.jobs import run_job
from workbench.worker.mapping import make_map


def images_of(session: Session, dataset: Dataset) -> list[Image]:
    return list(session.scalars(select(Image).where(Image.dataset_id == dataset.id).order_by(Image.id)))


def load(session: Session, home: Home, dataset: Dataset) -> States:
    return map_states.load_states(session, dataset, maps.get_shown(session, home, dataset))


@pytest.fixture
def run(session: Session, home: Home, pets: Dataset, alice: User) -> Run:
    """Takes the first owl for a dog; a map of two regions: the cats and a dog, a dog and the owls."""
    run = add_run(session, home, dataset=pets, user=alice, mistakes={"owl/0.png": "dog"}, folds=2)
    pets.promoted_run_id = run.id
    return add_map(home, run)


def test_the_order_of_drawing_is_a_curve_through_the_cells() -> None:
    rng = np.random.default_rng(0)
    places = rng.random((500, 2)).astype(np.float32)
    made = maps.arrange(image_ids=np.arange(500), points=places, regions=np.zeros(500, np.int16), method="pca", seed=0)
    assert sorted(made.image_ids.tolist()) == list(range(500))
    np.testing.assert_allclose(made.points / 65535, places[made.image_ids], atol=1e-5)
    assert (made.cells[0], made.cells[-1], len(made.cells)) == (0, 500, SIDE * SIDE + 1)
    for cell in range(SIDE * SIDE):
        column = sum((cell >> 2 * bit & 1) << bit for bit in range(5))
        row = sum((cell >> 2 * bit + 1 & 1) << bit for bit in range(5))
        inside = made.points[made.cells[cell] : made.cells[cell + 1]].astype(int) * SIDE // 65536
        assert (inside == [column, row]).all()


def test_every_third_point_is_spread_like_all() -> None:
    rng = np.random.default_rng(1)
    places = rng.random((9000, 2)).astype(np.float32)
    made = maps.arrange(
        image_ids=np.arange(9000), points=places, regions=np.zeros(9000, np.int16), method="pca", seed=0
    )
    counts = np.histogram2d(*made.points[::9].T.astype(float), bins=10, range=[[0, 65535]] * 2)[0]
    assert counts.sum() == 1000
    assert counts.std() < 2.5  # 3.2 if they were drawn at random


def test_a_map_is_read_as_it_was_saved_and_a_damaged_one_is_none(session: Session, home: Home, run: Run) -> None:
    found = maps.find_map(home, run.id)
    assert found is not None
    assert (found[0].method, found[0].seed, found[0].region_count) == ("pca", 0, 2)
    assert found[0].image_ids.tolist() == [image.id for image in images_of(session, session.get_one(Dataset, 1))]
    (home.run_folder(run.id) / maps.FILE).write_bytes(b"half a file")
    assert maps.find_map(home, run.id) is None


def test_the_map_of_the_promoted_run_is_shown_else_the_newest(
    session: Session, home: Home, pets: Dataset, alice: User
) -> None:
    with pytest.raises(NotFound, match="make it on its map page"):
        maps.get_shown(session, home, pets)
    first = add_map(home, add_run(session, home, dataset=pets, user=alice))
    assert (maps.get_shown(session, home, pets).run.id, maps.get_shown(session, home, pets).is_stale) == (
        first.id,
        False,
    )
    second = add_run(session, home, dataset=pets, user=alice)
    pets.promoted_run_id = second.id
    shown = maps.get_shown(session, home, pets)
    assert (shown.run.id, shown.is_stale) == (first.id, True)
    add_map(home, second)
    shown = maps.get_shown(session, home, pets)
    assert (shown.run.id, shown.is_stale) == (second.id, False)


def test_what_images_are_is_told_in_the_order_of_the_map(session: Session, home: Home, pets: Dataset, run: Run) -> None:
    images = images_of(session, pets)
    images[4].p_wrong, images[4].predicted_id, images[1].split = 0.7, images[2].label_id, None
    session.flush()
    states = load(session, home, pets)
    said = {mode: [states.legends[mode][value].name for value in states.values[mode].tolist()] for mode in MODES}
    assert said["label"] == ["cat", "cat", "dog", "dog", "owl", "owl"]
    assert said["predicted"] == ["no prediction"] * 4 + ["dog", "no prediction"]
    assert said["p_wrong"] == ["unknown"] * 4 + ["0.5 to 0.75", "unknown"]
    assert said["split"] == ["train", "no split", "train", "test", "train", "test"]
    assert said["status"] == ["not looked at"] * 6
    assert [(sign.name, sign.count) for sign in states.legends["label"] if sign.count] == [
        ("cat", 2), ("dog", 2), ("owl", 2),
    ]  # fmt: skip


def test_verdicts_and_findings_show_at_once(session: Session, home: Home, pets: Dataset, run: Run, bob: User) -> None:
    load(session, home, pets)
    images = images_of(session, pets)
    session.add(Finding(dataset_id=pets.id, image_id=images[0].id, kind="blurred", score=1, reason="soft"))
    session.add(Finding(dataset_id=pets.id, image_id=images[0].id, kind="blank", score=1, reason="all grey"))
    session.add(Finding(dataset_id=pets.id, image_id=images[1].id, kind="blank", score=1, reason="all grey"))
    session.flush()
    decisions.decide(session, image=images[1], user=bob, verdict="confirm")
    decisions.decide(session, image=images[5], user=bob, verdict="exclude")
    states = load(session, home, pets)
    said = {mode: [states.legends[mode][value].name for value in states.values[mode].tolist()] for mode in MODES}
    assert said["status"] == ["not looked at", "decided", *["not looked at"] * 3, "excluded"]
    assert said["label"][5] == "excluded"
    assert said["finding"] == ["blank", *["no finding"] * 4, "excluded"]
    assert [sign.is_shown for sign in states.legends["label"]][-1] is False
    assert states.waiting.tolist() == [True, False, True, True, True, False]


def test_regions_tell_what_lies_in_them(session: Session, home: Home, pets: Dataset, run: Run) -> None:
    images = images_of(session, pets)
    images[3].p_wrong, images[4].p_wrong = 0.5, 0.1
    session.flush()
    first, second = load(session, home, pets).regions
    assert (first.number, first.count, first.waiting, first.wrong) == (1, 3, 3, None)
    assert [(share.name, share.count) for share in first.labels] == [("cat", 2), ("dog", 1)]
    assert second.wrong == pytest.approx(0.9)  # three images of which 0.3 of those judged
    assert second.centre == pytest.approx((0.75, 0.5), abs=1e-3)
    assert second.image_ids[0] == images[4].id


def test_images_that_came_later_are_counted_and_not_guessed(
    session: Session, home: Home, pets: Dataset, run: Run
) -> None:
    assert load(session, home, pets).unplaced == 0
    like = images_of(session, pets)[0]
    values = {
        column.name: getattr(like, column.name)
        for column in Image.__table__.columns
        if column.name not in ("id", "path")
    }
    session.add(Image(path="later.png", **values))
    session.flush()
    states = load(session, home, pets)
    assert (states.unplaced, len(states.values["label"])) == (1, 6)


def test_many_classes_share_a_sign_beyond_sixty(session: Session, pets: Dataset) -> None:
    from workbench.services import datasets

    classes = list(datasets.ensure_classes(session, pets, [f"kind {number}" for number in range(70)]).values())
    ids = np.array([cls.id for cls in classes] + [0], np.float64)
    places, signs = map_states._of_classes(ids, classes, "no label")
    assert (places.max(), len(signs)) == (61, 62)
    assert [signs[place].name for place in (places[59], places[60], places[69], places[70])] == [
        "kind 59", "other classes", "other classes", "no label",
    ]  # fmt: skip


def test_density_has_the_colour_of_what_is_commonest() -> None:
    points = np.array([[0, 0], [1, 1], [2, 2], [65535, 65535], [40000, 40000]], np.uint16)
    legend = [Sign("a", "#102030", "disc", 3), Sign("b", "#405060", "disc", 1), Sign("x", "#FFFFFF", "disc", 1, False)]
    data = paint_density(points, np.array([0, 0, 1, 1, 2], np.uint8), legend, size_px=16)
    pixels = np.asarray(Picture.open(io.BytesIO(data)))
    assert pixels[15, 0].tolist() == [0x10, 0x20, 0x30, 255]  # the lower left
    assert pixels[0, 15, :3].tolist() == [0x40, 0x50, 0x60]
    assert int((pixels[:, :, 3] > 0).sum()) == 2


def test_density_of_nothing_is_transparent() -> None:
    data = paint_density(np.empty((0, 2), np.uint16), np.empty(0, np.uint8), [Sign("a", "#102030", "disc", 0)])
    assert not np.asarray(Picture.open(io.BytesIO(data)))[:, :, 3].any()


def test_the_job_makes_the_map_and_makes_it_again_the_same(database: Database, home: Home) -> None:
    with database.write() as session:
        dataset = make_pets(session, per_class=20)
        user = add_user(session)
        run = add_run(session, home, dataset=dataset, user=user)
        dataset.promoted_run_id = run.id
        job = jobs.enqueue(session, kind="map", user=user, dataset=dataset, run=run.id, method="neighbours").id
    assert run_job(database, home, job) == "done"
    with database.read() as session:
        shown = maps.get_shown(session, home, session.get_one(Dataset, 1))
        assert (shown.map.method, len(shown.map.image_ids)) == ("neighbours", 60)
    answer = make_map(Context(database, home), dataset="pets")
    again = maps.find_map(home, run.id)
    assert again is not None
    np.testing.assert_array_equal(again[0].points, shown.map.points)
    assert {**answer, "seconds": 0} == {
        "dataset": "pets", "run": 1, "method": "neighbours", "images": 60, "regions": 4, "seconds": 0,
    }  # fmt: skip


def add_user(session: Session) -> User:
    from workbench.services import users

    return users.ensure_admin(session)


def test_a_map_needs_a_run_of_the_data_set(database: Database, home: Home) -> None:
    with database.write() as session:
        make_pets(session)
        other = make_pets(session, name="birds")
        run = add_run(session, home, dataset=other, user=add_user(session))
    context = Context(database, home)
    for wrong in ({}, {"run": run.id}):
        with pytest.raises(Invalid, match="train one first"):
            make_map(context, dataset="pets", **wrong)
    said = load_predictions(home, run.id)
    save_predictions(home, run.id, replace(said, features=np.zeros_like(said.features)))
    with pytest.raises(Invalid, match="came without features"):
        make_map(context, dataset="birds", run=run.id)
    with pytest.raises(Invalid, match="layout"):
        make_map(replace(context), dataset="birds", method="magic")
