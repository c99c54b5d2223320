"""Agreement read from the log: what is compared, by whom, and how each reviewer works."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from sqlalchemy.orm import Session

from tests.conftest import make_pets
from tests.opinion_queues import ask_several, decide, have_said, list_images, say
from tests.review_queues import counted
from workbench.db import Database
from workbench.models import Dataset, QueueItem, User
from workbench.services import agreement, datasets, decisions, opinions, reviewers
from workbench.services.agreement import Report

NAMES = ("anna", "ben", "cleo")


def report(session: Session, dataset: Dataset, *, source: str = "blind") -> Report:
    return agreement.report(session, dataset, source=source)


def confusions(found: Report) -> list[tuple[str, str, int]]:
    return [(one.one.name, one.other.name, one.images) for one in found.confused]


def test_nobody_has_spoken(session: Session, pets: Dataset) -> None:
    found = report(session, pets)
    assert (found.images, found.opinions, found.reviewers, found.pairs) == (0, 0, (), ())
    assert (found.alpha.value, found.alpha.n) == (None, 0)
    assert [line.category.name for line in found.classes] == ["cat", "dog", "owl"]


def test_one_reviewer_agrees_with_nobody(session: Session, pets: Dataset) -> None:
    have_said(session, pets, ask_several(session, pets), {"anna": "ccddoo"})
    found = report(session, pets)
    assert (found.images, found.opinions, found.pairs) == (6, 6, ())
    assert (found.alpha.value, found.alpha.why) == (None, "no image has two opinions")


def test_two_reviewers_by_pair_class_and_confusion(session: Session, pets: Dataset) -> None:
    have_said(session, pets, ask_several(session, pets), {"anna": "ccddoo", "ben": "cdddox"})
    found = report(session, pets)

    assert (found.images, found.opinions, found.alpha.n) == (6, 12, 6)
    assert found.observed.value == pytest.approx(4 / 6)
    (pair,) = found.pairs
    assert (pair.one.name, pair.other.name, pair.observed.n) == ("anna", "ben", 6)
    assert pair.kappa.value == pytest.approx((24 / 36 - 10 / 36) / (1 - 10 / 36))
    assert confusions(found) == [("cat", "dog", 1), ("owl", "exclude", 1)]
    assert {line.category.name: (line.times, line.specific) for line in found.classes} == {
        "cat": (3, pytest.approx(2 / 3)),
        "dog": (5, pytest.approx(4 / 5)),
        "owl": (3, pytest.approx(2 / 3)),
        "exclude": (1, 0.0),
    }
    assert found.disputed == 2


def test_what_somebody_said_last_counts_and_what_was_undone_does_not(session: Session, pets: Dataset) -> None:
    queue = ask_several(session, pets, asks=3)
    people = have_said(session, pets, queue, {"anna": "c", "ben": "d"})
    item = session.query(QueueItem).filter_by(queue_id=queue.id, position=0).one()
    again = say(session, pets, item, people["ben"], "c")
    assert report(session, pets).observed.value == 1

    decisions.undo(session, dataset=pets, user=people["ben"], action=again)
    assert report(session, pets).observed.value == 0


def test_ambiguous_counts_as_a_class_whatever_it_lies_between(session: Session, pets: Dataset) -> None:
    have_said(session, pets, ask_several(session, pets), {"anna": "aac", "ben": "acc"})
    found = report(session, pets)
    assert found.observed.value == pytest.approx(2 / 3)
    assert confusions(found) == [("cat", "ambiguous", 1)]


def test_merged_classes_are_one(session: Session, pets: Dataset, alice: User) -> None:
    have_said(session, pets, ask_several(session, pets), {"anna": "cd", "ben": "dd"})
    assert report(session, pets).observed.value == 0.5
    cat, dog = (datasets.get_class(session, pets, name) for name in ("cat", "dog"))
    datasets.merge_class(session, dataset=pets, user=alice, cls=cat, into=dog)
    assert report(session, pets).observed.value == 1


def test_hidden_gold_images_are_left_out(session: Session, pets: Dataset, alice: User) -> None:
    opinions.set_gold(session, dataset=pets, user=alice, image_ids=[list_images(session, pets)[0].id])
    have_said(session, pets, ask_several(session, pets, gold=[0]), {"anna": "ccd", "ben": "dcd"})
    found = report(session, pets)
    assert (found.images, found.observed.value) == (2, 1)


def test_verdicts_are_compared_when_asked_for(session: Session, pets: Dataset) -> None:
    """And only of images that several people have decided on; what was taken back is not."""
    images = list_images(session, pets)
    for image, letters in zip(images, ("cd", "dd", "c"), strict=False):
        for name, letter in zip(NAMES, letters, strict=False):
            decide(session, pets, image, name, letter)
    decide(session, pets, images[2], "cleo", "d")
    decisions.undo_last(session, dataset=pets, user=user_named(session, "cleo"))

    assert report(session, pets).images == 0
    found = report(session, pets, source="all")
    assert ([user.name for user in found.reviewers], found.alpha.n) == (["anna", "ben"], 2)
    assert found.observed.value == 0.5


def user_named(session: Session, name: str) -> User:
    return session.query(User).filter_by(name=name).one()


def test_another_data_set_is_not_mixed_in(session: Session, pets: Dataset) -> None:
    birds = make_pets(session, name="birds")
    have_said(session, birds, ask_several(session, birds), {"anna": "cccc", "ben": "cccc"})
    assert report(session, pets).images == 0
    assert report(session, pets, source="all").images == 0
    assert reviewers.list_work(session, pets) == []


def test_two_reviewers_side_by_side(session: Session, pets: Dataset) -> None:
    people = have_said(session, pets, ask_several(session, pets, asks=3), {"anna": "ccdd", "ben": "cddd", "cleo": "o"})
    found = agreement.report_pair(session, pets, people["anna"], people["ben"])
    assert [category.name for category in found.categories] == ["cat", "dog"]
    assert found.table == [[1, 1], [0, 2]]
    assert [(category.name, images) for category, _, images in found.classes] == [("cat", 2), ("dog", 3)]
    assert found.pair.kappa.value == pytest.approx(0.5)

    strangers = agreement.report_pair(session, pets, people["anna"], user_named(session, "cleo"))
    assert strangers.pair.kappa.n == 1


def test_the_images_behind_a_confusion(session: Session, pets: Dataset) -> None:
    people = have_said(session, pets, ask_several(session, pets), {"anna": "cdc", "ben": "dcc"})
    images = [image.id for image in list_images(session, pets)]
    said = agreement.read_opinions(session, pets)
    assert agreement.list_differing(said, 0, 1).tolist() == images[:2]
    columns = said.column(people["anna"].id), said.column(people["ben"].id)
    assert agreement.list_differing(said, 0, 1, columns=columns).tolist() == images[:1]


@pytest.mark.parametrize("source", ["blind", "all"])
def test_reading_costs_the_same_for_one_image_and_for_six(database: Database, source: str) -> None:
    numbers = []
    for name, letters in (("one", "c"), ("six", "ccddoo")):
        with database.write() as session:
            dataset = make_pets(session, name=name)
            have_said(session, dataset, ask_several(session, dataset), {"anna": letters, "ben": letters[::-1]})
        with database.read() as session:
            dataset = session.get_one(Dataset, dataset.id)
            with counted(database) as statements:
                agreement.report(session, dataset, source=source)
            numbers.append(len(statements))
    assert numbers[0] == numbers[1] <= 6


# --- how a reviewer works -----------------------------------------------------------------------------------------


def test_how_each_reviewer_works(session: Session, pets: Dataset, alice: User) -> None:
    images = list_images(session, pets)
    opinions.set_gold(session, dataset=pets, user=alice, image_ids=[images[0].id])
    queue = ask_several(session, pets, asks=3, gold=[0])
    have_said(session, pets, queue, {"anna": "cccd", "ben": "cccc", "cleo": "doco"}, seconds=2.5)
    works = {work.user.name: work for work in reviewers.list_work(session, pets)}

    assert {name: work.decisions for name, work in works.items()} == {"anna": 4, "ben": 4, "cleo": 4}
    assert {name: (work.gold.value, work.gold.n) for name, work in works.items()} == {
        "anna": (1.0, 1),
        "ben": (1.0, 1),
        "cleo": (0.0, 1),
    }
    assert {name: (work.others.value, work.others.n) for name, work in works.items()} == {
        "anna": (1.0, 1),
        "ben": (1.0, 1),
        "cleo": (0.5, 2),
    }
    assert {name: work.changes.value for name, work in works.items()} == {
        "anna": pytest.approx(1 / 3),
        "ben": pytest.approx(2 / 3),
        "cleo": pytest.approx(1.0),
    }
    assert works["anna"].seconds == 2.5
    assert works["anna"].per_hour is None


def test_what_was_right_stays_right_when_classes_are_merged(session: Session, pets: Dataset, alice: User) -> None:
    images = list_images(session, pets)
    cat, dog = (datasets.get_class(session, pets, name) for name in ("cat", "dog"))
    opinions.set_gold(session, dataset=pets, user=alice, image_ids=[images[0].id, images[1].id])
    queue = ask_several(session, pets, gold=[0, 1])
    people = have_said(session, pets, queue, {"anna": "cdcx"})
    datasets.merge_class(session, dataset=pets, user=alice, cls=cat, into=dog)
    (work,) = reviewers.list_work(session, pets)
    assert (work.gold.value, work.gold.n) == (1, 2)
    assert (work.changes.value, work.changes.n) == (0.5, 2)
    assert reviewers.measure_gold(session, pets)[people["anna"].id].value == 1
    assert reviewers.list_periods(session, pets, people["anna"])[1][0].gold.value == 1


def test_what_others_took_back_is_counted_and_own_undos_are_not(session: Session, pets: Dataset, alice: User) -> None:
    images = list_images(session, pets)
    first, second = (decide(session, pets, image, "anna", "d") for image in images[:2])
    anna = user_named(session, "anna")
    undo = decisions.undo(session, dataset=pets, user=alice, action=first)
    decisions.undo(session, dataset=pets, user=anna, action=second)
    assert reviewers.list_work(session, pets)[0].undone == 1
    decisions.undo(session, dataset=pets, user=alice, action=undo)
    assert reviewers.list_work(session, pets)[0].undone == 0


def lines_at(seconds: list[float], *, bulk: int = 1) -> list[SimpleNamespace]:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    moments = [start + timedelta(seconds=at) for at in seconds for _ in range(bulk)]
    return [SimpleNamespace(action=f"{at}", at=at) for at in moments]


def test_pace_leaves_breaks_out() -> None:
    steady = [4.0 * step for step in range(25)]
    assert reviewers.measure_pace(lines_at(steady)) == pytest.approx(900)
    after_lunch = steady + [3600 + at for at in steady]
    assert reviewers.measure_pace(lines_at(after_lunch)) == pytest.approx(900)
    assert reviewers.measure_pace(lines_at(steady, bulk=10)) == pytest.approx(9000)
    assert reviewers.measure_pace(lines_at(steady[:20])) is None
    assert reviewers.measure_pace([]) is None


def test_periods_are_hundreds_or_days(session: Session, pets: Dataset) -> None:
    people = have_said(session, pets, ask_several(session, pets), {"anna": "ccddoo", "ben": "cdddoo"}, seconds=3.0)
    kind, periods = reviewers.list_periods(session, pets, people["ben"])
    assert (kind, [period.name for period in periods]) == ("decisions", ["1–6"])
    assert (periods[0].others.value, periods[0].others.n, periods[0].seconds) == (pytest.approx(5 / 6), 6, 3.0)

    days = [SimpleNamespace(at=datetime(2026, 1, day, tzinfo=UTC)) for day in (1, 1, 2, 4)]
    assert reviewers._cut(days) == ("day", [0, 2, 3], ["2026-01-01", "2026-01-02", "2026-01-04"])
    assert reviewers._cut([SimpleNamespace(at=datetime(2026, 1, 1, tzinfo=UTC))] * 250)[1:] == (
        [0, 100, 200],
        ["1–100", "101–200", "201–250"],
    )
    assert reviewers.list_periods(session, pets, user_named(session, "anna"))[1][0].decisions == 6


def test_somebody_without_decisions_has_no_periods(session: Session, pets: Dataset, bob: User) -> None:
    assert reviewers.list_periods(session, pets, bob) == ("decisions", [])
