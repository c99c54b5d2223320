"""Leaks: which images that measure have a copy among those that teach, and what it does to a run's accuracy."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.conftest import make_pets
from tests.drawn import add_image, draw_png, make_stripes
from tests.trained_runs import add_run
from workbench.config import Home
from workbench.db import Database
from workbench.errors import Invalid
from workbench.models import Dataset, DuplicatePair, Image, Import, Run, User
from workbench.queries import datasets as dataset_queries
from workbench.queries import duplicates as duplicate_queries
from workbench.queries import runs as run_queries
from workbench.services import datasets, decisions, duplicates, evaluations, leaks, runs, settling, training_sets
from workbench.services.duplicates import FoundGroup
from workbench.services.leaks import Rate, compare_rates, compare_within
from workbench.services.measures import wilson
from workbench.worker import trainings
from workbench.worker.context import Context

TINY: dict[str, Any] = {"image_size": 16, "threads": 1, "batch_size": 16, "precision": "float32"}


def images_of(session: Session, dataset: Dataset) -> dict[str, Image]:
    query = select(Image).where(Image.dataset_id == dataset.id).order_by(Image.id)
    return {image.path: image for image in session.scalars(query)}


def add_pair(session: Session, a: Image, b: Image, *, p: float) -> None:
    ids = sorted((a.id, b.id))
    session.add(
        DuplicatePair(dataset_id=a.dataset_id, a_id=ids[0], b_id=ids[1], how="hashes", score=0.9, p=p, evidence=0.0)
    )
    session.flush()


def count(session: Session, dataset: Dataset) -> dict[str, tuple[int, int, int]]:
    """Split -> (images, exact, near)."""
    return {each.split: (each.n, each.exact, each.near) for each in leaks.list_split_leaks(session, dataset)}


# --- the splits as they stand -----------------------------------------------------------------------------------


def test_exact_and_near_copies_of_train_are_counted_by_split_and_class(session: Session) -> None:
    dataset = make_pets(session, per_class=6)
    images = images_of(session, dataset)
    images["cat/1.png"].pixel_sha256 = images["cat/0.png"].pixel_sha256
    images["dog/3.png"].split = "validation"
    add_pair(session, images["dog/2.png"], images["dog/3.png"], p=0.5)
    add_pair(session, images["owl/2.png"], images["owl/3.png"], p=0.49)
    add_pair(session, images["cat/0.png"], images["owl/5.png"], p=0.9)  # the first image of the picture stands for both
    assert count(session, dataset) == {"validation": (1, 0, 1), "test": (8, 1, 1)}
    test = leaks.list_split_leaks(session, dataset)[1]
    names = {cls.id: cls.name for cls in dataset_queries.list_classes(session, dataset.id)}
    assert [(names[cls.label_id or 0], cls.n, cls.exact, cls.near) for cls in test.classes] == [
        ("cat", 3, 1, 0), ("dog", 2, 0, 0), ("owl", 3, 0, 1),
    ]  # fmt: skip
    assert [each.near for each in leaks.list_split_leaks(session, dataset, min_p=0.4)] == [1, 2]


def test_a_near_copy_of_an_exact_copy_leaks_too(session: Session) -> None:
    """a in test ~ b in test = c in train: the pair names a and b, and c shows the picture of b."""
    dataset = make_pets(session, per_class=6)
    images = images_of(session, dataset)
    images["cat/4.png"].pixel_sha256 = images["cat/3.png"].pixel_sha256
    add_pair(session, images["cat/1.png"], images["cat/3.png"], p=0.8)
    assert count(session, dataset) == {"test": (9, 1, 1)}


def test_copies_within_test_are_no_leak(session: Session) -> None:
    dataset = make_pets(session, per_class=6)
    images = images_of(session, dataset)
    images["cat/3.png"].pixel_sha256 = images["cat/1.png"].pixel_sha256
    add_pair(session, images["cat/1.png"], images["dog/1.png"], p=0.9)
    assert count(session, dataset) == {"test": (9, 0, 0)}


def test_excluded_images_do_not_leak_on_either_side(session: Session, alice: User) -> None:
    dataset = make_pets(session, per_class=6)
    images = images_of(session, dataset)
    for name in ("cat", "dog"):
        images[f"{name}/1.png"].pixel_sha256 = images[f"{name}/0.png"].pixel_sha256
    decisions.decide(session, image=images["cat/0.png"], user=alice, verdict="exclude")
    decisions.decide(session, image=images["dog/1.png"], user=alice, verdict="exclude")
    assert count(session, dataset) == {"test": (8, 0, 0)}


def test_what_reviewers_say_goes_before_what_the_scan_says(session: Session, alice: User) -> None:
    dataset = make_pets(session, per_class=6)
    images = images_of(session, dataset)
    groups = [(images[f"{name}/2.png"], images[f"{name}/3.png"]) for name in ("cat", "dog")]
    for a, b in groups:
        add_pair(session, a, b, p=0.9)
    found = [FoundGroup([a.id, b.id], 0.9, 0.9) for a, b in groups]
    found.append(FoundGroup([images["owl/0.png"].id, images["owl/1.png"].id], 0.4, 0.3))
    duplicates.refresh_near_groups(session, dataset, found)
    assert count(session, dataset) == {"test": (9, 0, 2)}
    for path, verdict in (("cat/2.png", "not_duplicates"), ("owl/0.png", "keep_all")):
        [group_id] = duplicate_queries.list_groups_holding(session, [images[path].id])
        group = duplicate_queries.get_group(session, dataset.id, group_id)
        settling.settle(session, dataset=dataset, user=alice, group=getattr(group, "group", group), verdict=verdict)
    assert count(session, dataset) == {"test": (9, 0, 2)}  # the cat no longer, the owl now
    [cat, dog, owl] = leaks.list_split_leaks(session, dataset)[0].classes
    assert (cat.near, dog.near, owl.near) == (0, 1, 1)


def test_a_data_set_without_splits_has_no_report(session: Session) -> None:
    dataset = make_pets(session)
    for image in images_of(session, dataset).values():
        image.split = None
    session.flush()
    assert leaks.list_split_leaks(session, dataset) == []


# --- a run ------------------------------------------------------------------------------------------------------


def test_a_run_is_judged_on_leaked_images_and_on_the_rest(session: Session, home: Home, alice: User) -> None:
    dataset = make_pets(session, per_class=20)
    images = images_of(session, dataset)
    wrong = {f"{name}/{number}.png": "owl" for name in ("cat", "dog") for number in (11, 13, 15)}
    for number in (1, 3, 5, 7, 11):
        add_pair(session, images[f"cat/{number}.png"], images[f"cat/{number - 1}.png"], p=0.9)
    run = add_run(session, home, dataset=dataset, user=alice, mistakes=wrong)

    found = leaks.measure_run(session, home, run)

    assert found is not None
    assert (found.leaked, found.rest, found.all) == (Rate(5, 4), Rate(25, 20), Rate(30, 24))
    assert (found.exact, found.near, found.trained, found.left_out) == (0, 5, 30, 0)
    assert found.difference == compare_rates(Rate(5, 4), Rate(25, 20))
    assert found.classes == [("cat", Rate(5, 4), Rate(5, 3))]
    assert found.difference_within_classes == compare_rates(Rate(5, 4), Rate(5, 3))
    sentence = leaks.make_sentence(found)
    assert "5 of the 30 images of test have a copy among them (0 exact, 5 near)" in sentence
    assert "no more than chance" in sentence


def test_exact_copies_that_were_left_out_of_training_do_not_leak(session: Session, home: Home, alice: User) -> None:
    dataset = make_pets(session, per_class=6)
    images = images_of(session, dataset)
    images["cat/1.png"].pixel_sha256 = images["cat/0.png"].pixel_sha256
    session.flush()
    run = add_run(session, home, dataset=dataset, user=alice)
    found = leaks.measure_run(session, home, run)
    assert found is not None
    assert (found.exact, found.trained, found.left_out) == (0, 8, 1)
    assert count(session, dataset) == {"test": (9, 1, 0)}  # as the splits stand it does
    assert "1 of train were left out" in leaks.make_sentence(found)


def test_what_a_run_learned_counts_after_the_splits_were_built_anew(session: Session, home: Home, alice: User) -> None:
    dataset = make_pets(session, per_class=6)
    images = images_of(session, dataset)
    add_pair(session, images["cat/0.png"], images["cat/1.png"], p=0.9)
    run = add_run(session, home, dataset=dataset, user=alice)
    moves = [decisions.Line("split", images["cat/0.png"].id, detail={"split": "test"})]
    decisions.submit(session, dataset=dataset, user=alice, lines=moves)
    assert count(session, dataset) == {"test": (10, 0, 0)}
    found = leaks.measure_run(session, home, run)
    assert found is not None
    assert found.near == 1


def test_a_report_is_json_able_and_complete(session: Session, home: Home, alice: User) -> None:
    dataset = make_pets(session, per_class=6)
    run = add_run(session, home, dataset=dataset, user=alice)
    document = leaks.report(
        dataset, leaks.list_split_leaks(session, dataset), leaks.measure_run(session, home, run), names={}, min_p=0.5
    )
    assert document["run"]["leaked"] == {"n": 0, "accuracy": None, "low": 0.0, "high": 1.0}
    assert (document["run"]["difference"], document["run"]["within_classes"]) == (None, None)


# --- numbers ----------------------------------------------------------------------------------------------------


def test_the_difference_of_two_rates_is_newcombes() -> None:
    """Newcombe 1998, table II, method 10: 56/70 against 48/80 gives 0.0524 to 0.3339."""
    found = compare_rates(Rate(70, 56), Rate(80, 48))
    assert found == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4)
    assert compare_rates(Rate(0, 0), Rate(80, 48)) is None


@given(st.integers(1, 300), st.integers(1, 300), st.data())
def test_one_stratum_gives_the_same_as_no_strata(n: int, m: int, data: st.DataObject) -> None:
    one, other = Rate(n, data.draw(st.integers(0, n))), Rate(m, data.draw(st.integers(0, m)))
    assert compare_within([(one, other)]) == pytest.approx(compare_rates(one, other))
    found, low, high = compare_within([(one, other), (Rate(0, 0), other)]) or (0.0, 0.0, 0.0)
    assert -1 - 1e-9 <= low <= found <= high <= 1 + 1e-9
    assert math.isclose(one.interval[0], wilson(one.right, one.n)[0])


# --- trainings --------------------------------------------------------------------------------------------------


@pytest.fixture
def context(database: Database, home: Home) -> Context:
    """Stripes with an exact and a near copy in train of images that stand in test."""
    with database.write() as session:
        dataset = make_stripes(session, home)
        source, rows = session.get_one(Import, 1), datasets.get_class(session, dataset, "rows")
        data = draw_png("rows", seed=4)  # rows/004.png stands in test
        add_image(session, home, dataset, source, path="exact.png", data=data, label_id=rows.id, split="train")
        images = images_of(session, dataset)
        add_pair(session, images["rows/009.png"], images["rows/000.png"], p=0.8)
    return Context(database, home)


def train(context: Context, **settings: Any) -> tuple[dict[str, Any], Run]:
    answer = trainings.train(context, dataset="stripes", epochs=1, settings={**TINY, **settings})
    with context.database.read() as session:
        return answer, run_queries.get_run(session, answer["run"])


@pytest.mark.parametrize(
    ("leave_out", "left", "exact", "near"), [("exact", 1, 0, 1), ("near", 2, 0, 0), ("none", 0, 1, 1)]
)
def test_a_training_leaves_out_the_copies_that_it_is_told_to(
    context: Context, leave_out: str, left: int, exact: int, near: int
) -> None:
    answer, run = train(context, leave_out=leave_out)
    assert (answer["counts"]["leaked"], answer["counts"]["trained"]) == (left, 37 - left)
    assert (run.config["leave_out"], "leave_out" in run.config["overrides"]) == (leave_out, False)
    with context.database.read() as session:
        found = leaks.measure_run(session, context.home, run)
        again = evaluations.evaluate_run(session, context.home, run)
        kept = training_sets.load_training_set(context.home, run.id)
    assert found is not None
    assert kept is not None
    assert (found.exact, found.near, found.left_out, found.all.n) == (exact, near, left, 12)
    assert (len(kept.trained), len(kept.measured), len(kept.left_out)) == (37 - left, 12, left)
    assert (again["n"], again["accuracy"]) == (answer["test"]["n"], answer["test"]["accuracy"])


def test_a_run_from_before_the_list_of_its_images_is_replayed_to_the_same_list(context: Context) -> None:
    _, run = train(context)
    kept = training_sets.load_training_set(context.home, run.id)
    (context.home.run_folder(run.id) / training_sets.FILE).unlink()
    with context.database.read() as session:
        found = training_sets.find_training_set(session, context.home, run)
    assert kept is not None
    assert found.trained.tolist() == kept.trained.tolist()
    assert found.measured.tolist() == kept.measured.tolist()
    assert found.left_out.tolist() == kept.left_out.tolist()


def test_an_unknown_way_to_leave_out_is_refused(context: Context) -> None:
    with pytest.raises(Invalid, match="exact, near, none"):
        train(context, leave_out="all")
    assert runs.LEAVE_OUT == ("exact", "near", "none")
