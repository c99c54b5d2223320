"""Queues of what a filter matches: which images, in which order, what is asked, and how the filter is kept."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.commands import call
from tests.conftest import make_pets
from tests.test_queues import images_of
from workbench.config import Home
from workbench.db import Database
from workbench.errors import Frozen, Invalid, NothingToReview
from workbench.models import Attribute, Class, Dataset, Image, QueueItem, User, utc_now
from workbench.queries import queues as queries
from workbench.queries.image_lists import MARKS, NONE, SORTS, ImageFilter
from workbench.services import cards, decisions, freezing, image_filters, protection, queue_plans, queues, sweeps

NAMES = {1: "cat", 2: "dog", 3: "none", 4: "a=b: ü"}


def build(session: Session, home: Home, dataset: Dataset, **params: Any) -> list[QueueItem]:
    queue = queues.build_queue(session, home, dataset=dataset, recipe="filter", **params)
    return queries.list_items(session, queue.id, limit=None)


def places(session: Session, dataset: Dataset, items: list[QueueItem]) -> list[int]:
    first = images_of(session, dataset)[0].id
    return [item.image_id - first for item in items]


@pytest.fixture
def seen(session: Session, pets: Dataset) -> list[Image]:
    """Cat 0 and 1, dog 2 and 3, owl 4 and 5; what a run says of each, and marks."""
    images = images_of(session, pets)
    ids = [cls.id for cls in session.scalars(select(Class).order_by(Class.position))]
    for image, says, p_wrong in zip(images, (1, 0, 1, 0, 2, 1), (0.9, 0.1, 0.2, 0.8, None, 0.5), strict=True):
        image.predicted_id, image.p_wrong, image.confidence = ids[says], p_wrong, 0.9
    images[4].label_id = None
    images[5].status = "excluded"
    session.add(Attribute(image_id=images[3].id, name="coat", value="wild"))
    session.flush()
    return images


@pytest.mark.parametrize(
    ("params", "expected", "title"),
    [
        ({}, [0, 1, 2, 3, 4, 5], "All images"),
        ({"label": "cat"}, [0, 1], "Labelled cat"),
        ({"label": "none"}, [4], "No label"),
        ({"label": "dog", "split": "train"}, [2], "Labelled dog, in train"),
        ({"predicted": "dog", "p_wrong_from": "0,5"}, [0, 5], "Predicted dog, P(wrong) ≥ 0.5"),
        ({"agreement": "disagree", "sort": "p_wrong"}, [0, 3, 5], "Prediction disagrees"),
        ({"status": "excluded"}, [5], "Excluded"),
        ({"path": "OG/", "attribute": "coat=wild"}, [3], "Path has “OG/”, coat = wild"),
        ({"label": "cat", "limit": 1}, [0], "Labelled cat"),
    ],
)
def test_what_matches_in_the_order_of_the_list(
    session: Session,
    home: Home,
    pets: Dataset,
    seen: list[Image],
    params: dict[str, Any],
    expected: list[int],
    title: str,
) -> None:
    items = build(session, home, pets, **params)
    assert places(session, pets, items) == expected
    assert queries.get_queue(session, items[0].queue_id).title == title


def test_reviewed_images_are_asked_again(session: Session, home: Home, pets: Dataset, bob: User) -> None:
    image = images_of(session, pets)[0]
    decisions.decide(session, image=image, user=bob, verdict="confirm")
    items = build(session, home, pets, source="decision")
    assert places(session, pets, items) == [0]
    assert items[0].done_action is None
    decisions.decide(session, image=image, user=bob, verdict="confirm", queue_id=items[0].queue_id)
    assert queries.get_progress(session, queries.get_queue(session, items[0].queue_id)).open == 0


def test_a_filter_by_prediction_asks_about_the_prediction(
    session: Session, home: Home, pets: Dataset, seen: list[Image]
) -> None:
    by_label = build(session, home, pets, label="cat")
    assert [item.suggested_id for item in by_label] == [None, None]
    by_prediction = build(session, home, pets, predicted="dog")
    assert {item.suggested.name for item in by_prediction if item.suggested} == {"dog"}
    unlabelled = build(session, home, pets, label="none")
    assert unlabelled[0].suggested is not None
    assert unlabelled[0].suggested.name == "owl"
    assert by_label[0].reason == "Chosen by a filter: labelled cat; labelled cat."


def test_the_first_ten_thousand_are_taken(session: Session, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = make_pets(session, per_class=5, name="many")
    monkeypatch.setattr(queue_plans, "RECIPES", {**queue_plans.RECIPES, "filter": _shortened(7)})
    assert len(build(session, home, dataset)) == 7


def _shortened(most: int) -> Any:
    return replace(queue_plans.RECIPES["filter"], default_limit=most)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"label": "horse"}, "“horse” is not a class; use cat, dog, owl."),
        ({"split": "dev"}, "“dev” is not a split; use train, validation, test, none."),
        ({"p_wrong_from": "2"}, "“2” is not a share; give a number from 0 to 1."),
        ({"attribute": "coat"}, "write it like race=asian"),
        ({"colour": "red"}, "filter knows no “colour”; it takes label, predicted,"),
    ],
)
def test_nonsense_is_a_sentence(
    session: Session, home: Home, pets: Dataset, params: dict[str, str], words: str
) -> None:
    with pytest.raises(Invalid, match=words.replace("(", r"\(")):
        build(session, home, pets, **params)


def test_nothing_matches(session: Session, home: Home, pets: Dataset) -> None:
    with pytest.raises(NothingToReview):
        build(session, home, pets, path="no such path")


def test_a_frozen_split_is_kept_from_filters_by_flags_and_only_from_those(
    session: Session, home: Home, pets: Dataset, alice: User, seen: list[Image]
) -> None:
    before = build(session, home, pets, predicted="dog")
    assert {item.image.split for item in before} == {"train", "test"}
    freezing.freeze(session, dataset=pets, user=alice, split="test")
    session.expire_all()
    left = queries.list_items(session, before[0].queue_id, limit=None)
    assert {item.image.split for item in left} == {"train"}  # what waited for a verdict by flags has left the queue
    assert {item.image.split for item in build(session, home, pets, predicted="dog")} == {"train"}
    with pytest.raises(Invalid, match="test is frozen"):
        build(session, home, pets, predicted="cat", split="test")
    plain = build(session, home, pets, label="cat")
    assert {item.image.split for item in plain} == {"train", "test"}
    assert not protection.is_flagged(queries.get_queue(session, plain[0].queue_id))
    forced = build(session, home, pets, sort="p_wrong", force=True)
    inside = next(item for item in forced if item.image.split == "test" and item.image.label_id)
    answer = cards.Answer(verdict="confirm", revision=inside.image.revision)
    with pytest.raises(Frozen):
        cards.decide(session, item=inside, user=alice, answer=answer)


def test_it_can_be_swept(session: Session, home: Home, pets: Dataset, bob: User) -> None:
    items = build(session, home, pets, label="owl")
    queue = queries.get_queue(session, items[0].queue_id)
    grid = sweeps.make_sweep(session, pets, queue, user=bob, now=utc_now())
    assert grid.cls is not None
    assert (grid.cls.name, [cell.item.id for cell in grid.cells]) == ("owl", [item.id for item in items])


def test_by_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, database: Database, home: Home
) -> None:
    with database.write() as session:
        make_pets(session)
    told = call(
        capsys, monkeypatch, "queue", "build", "filter", "--dataset", "pets", "--set", "label=dog",
        "--set", "split=test", "--home", home.root,
    )  # fmt: skip
    assert (told.status, "“Labelled dog, in test” holds 1 image" in told.out) == (0, True)


_SHARES = st.none() | st.floats(0, 1)
_CHOICES = st.sampled_from


@given(
    st.builds(
        ImageFilter,
        class_id=st.none() | _CHOICES([NONE, *NAMES]),
        split=st.none() | _CHOICES(["train", "none"]),
        status=st.none() | _CHOICES(["active", "excluded"]),
        source=st.none() | _CHOICES(["imported", "consensus"]),
        agreement=st.none() | _CHOICES(["agree", "disagree"]),
        predicted_id=st.none() | _CHOICES(list(NAMES)),
        confidence_from=_SHARES,
        p_wrong_to=_SHARES,
        text=st.none() | st.text(min_size=1),
        attribute=st.none() | st.tuples(_CHOICES(["race", "a b"]), _CHOICES(["", "x=y", "ü"])),
        mark=st.none() | _CHOICES(MARKS),
    ),
    _CHOICES(list(SORTS)),
)
def test_what_is_written_reads_as_the_same_filter(found: ImageFilter, sort: str) -> None:
    params = image_filters.write(found, NAMES, sort=sort)
    parsed = {name: image_filters.PARAMS[name](value) for name, value in params.items()}
    assert parsed == params
    assert image_filters.read(parsed, NAMES) == found
    assert parsed.get("sort", "id") == sort
    assert [name for name, _ in image_filters.describe(params)] == [
        name for name in image_filters.PARAMS if name in params and name != "sort"
    ]
