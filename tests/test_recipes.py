"""Recipes: which images, in which order, and why."""

import pytest
from sqlalchemy.orm import Session

from tests.test_queues import images_of, make_run
from workbench.config import Home
from workbench.errors import Invalid
from workbench.models import Dataset, QueueItem, User
from workbench.queries import duplicates as duplicate_queries
from workbench.queries import queues as queries
from workbench.services import datasets, decisions, duplicates, queues, settling
from workbench.services.duplicates import FoundGroup

# of cat cat dog dog owl owl
PROBS = [[0.9, 0.1, 0.0], [0.1, 0.8, 0.1], [0.2, 0.7, 0.1], [0.5, 0.4, 0.1], [0.1, 0.2, 0.7], [0.1, 0.6, 0.3]]


def build(session: Session, home: Home, dataset: Dataset, recipe: str, **kwargs: object) -> list[QueueItem]:
    queue = queues.build_queue(session, home, dataset=dataset, recipe=recipe, **kwargs)
    items = queries.list_items(session, queue.id, limit=None)
    assert queue.size == len(items)
    assert [item.position for item in items] == list(range(len(items)))
    return items


def places(session: Session, dataset: Dataset, items: list[QueueItem]) -> list[int]:
    first = images_of(session, dataset)[0].id
    return [item.image_id - first for item in items]


def test_label_issues_are_disputed_labels_by_p_wrong(session: Session, home: Home, pets: Dataset) -> None:
    make_run(session, home, pets, PROBS, p_wrong=[0.05, 0.7, 0.1, 0.6, 0.2, 0.9])
    items = build(session, home, pets, "label-issues")

    assert places(session, pets, items) == [5, 1, 3]
    assert [round(item.p_wrong, 3) for item in items] == [0.9, 0.7, 0.6]
    assert [item.suggested.name for item in items] == ["dog", "dog", "cat"]
    assert [item.given.name for item in items] == ["owl", "cat", "dog"]
    assert items[1].reason == "Predicted dog with 0.80 by a model that has not seen it; labelled cat."
    queue = queries.get_queue(session, items[0].queue_id)
    assert queue.expected_hits == pytest.approx(2.2)
    assert places(session, pets, build(session, home, pets, "label_issues", every="1")) == [5, 1, 3, 4, 2, 0]
    assert places(session, pets, build(session, home, pets, "label_issues", limit=2)) == [5, 1]


def test_label_issues_without_p_wrong_rank_by_the_labels_own_probability(
    session: Session, home: Home, pets: Dataset
) -> None:
    make_run(session, home, pets, PROBS)
    assert places(session, pets, build(session, home, pets, "label_issues")) == [1, 5, 3]


def test_label_issues_leave_out_what_the_model_has_seen(session: Session, home: Home, pets: Dataset) -> None:
    make_run(session, home, pets, PROBS, out_of_sample=[False, False, True, True, True, True])
    assert places(session, pets, build(session, home, pets, "label_issues")) == [5, 3]

    run = make_run(session, home, pets, PROBS, out_of_sample=False)
    with pytest.raises(Invalid, match="train with --folds"):
        queues.build_queue(session, home, dataset=pets, recipe="label_issues", run=run)


def test_decided_and_excluded_images_are_not_asked_again(
    session: Session, home: Home, pets: Dataset, bob: User
) -> None:
    make_run(session, home, pets, PROBS)
    images = images_of(session, pets)
    decisions.decide(session, image=images[1], user=bob, verdict="confirm")
    decisions.decide(session, image=images[5], user=bob, verdict="exclude")

    assert places(session, pets, build(session, home, pets, "label_issues")) == [3]
    assert sorted(places(session, pets, build(session, home, pets, "random"))) == [0, 1, 2, 3, 4]


def test_images_that_the_run_never_saw_are_left_out(session: Session, home: Home, pets: Dataset) -> None:
    make_run(session, home, pets, PROBS[:2])
    assert sorted(places(session, pets, build(session, home, pets, "uncertain"))) == [0, 1]


def test_a_confusion_cell_by_confidence(session: Session, home: Home, pets: Dataset) -> None:
    make_run(session, home, pets, PROBS)
    items = build(session, home, pets, "confusion", cell="cat:dog")

    assert places(session, pets, items) == [1]
    assert items[0].reason == "Labelled cat, predicted dog with 0.80 by a model that has not seen it."
    assert queries.get_queue(session, items[0].queue_id).title == "Labelled cat, predicted dog"
    assert places(session, pets, build(session, home, pets, "confusion", cell="cat:cat", split="train")) == [0]
    for cell in ("", "cat", "cat:fox", "cat:dog:owl"):
        with pytest.raises(Invalid, match="is not a cell"):
            queues.build_queue(session, home, dataset=pets, recipe="confusion", cell=cell)


def test_a_class_whose_name_holds_a_colon_makes_a_cell(
    session: Session, home: Home, pets: Dataset, alice: User
) -> None:
    make_run(session, home, pets, PROBS)
    cat = datasets.get_class(session, pets, "cat")
    datasets.edit_class(session, dataset=pets, user=alice, cls=cat, name="cat:grey")
    assert places(session, pets, build(session, home, pets, "confusion", cell="cat:grey:dog")) == [1]


def test_predictions_of_a_merged_class_count_for_the_one_it_went_into(
    session: Session, home: Home, pets: Dataset, alice: User
) -> None:
    make_run(session, home, pets, PROBS)
    cat, dog = datasets.get_class(session, pets, "cat"), datasets.get_class(session, pets, "dog")
    datasets.merge_class(session, dataset=pets, user=alice, cls=cat, into=dog)
    session.expire_all()

    assert places(session, pets, build(session, home, pets, "label_issues")) == [5]


@pytest.mark.parametrize(
    ("score", "first"), [("entropy", 3), ("margin", 3), ("least-confidence", 3), ("least_confidence", 3)]
)
def test_uncertain_images_first(session: Session, home: Home, pets: Dataset, score: str, first: int) -> None:
    make_run(session, home, pets, PROBS)
    items = build(session, home, pets, "uncertain", score=score)
    assert places(session, pets, items)[0] == first
    assert items[0].reason == "The model hesitates between cat (0.50) and dog (0.40); labelled dog."
    scores = [item.score for item in items]
    assert scores == sorted(scores, reverse=True)
    with pytest.raises(Invalid, match="not a score"):
        queues.build_queue(session, home, dataset=pets, recipe="uncertain", score="luck")


def test_two_runs_disagree(session: Session, home: Home, pets: Dataset) -> None:
    other = make_run(session, home, pets, [[0.9, 0.1, 0.0], [0.6, 0.3, 0.1], [0.0, 0.1, 0.9], *PROBS[3:5]])
    run = make_run(session, home, pets, PROBS)
    items = build(session, home, pets, "disagreement", against=str(other.id))

    assert places(session, pets, items) == [2, 1]
    assert items[1].reason == f"Run {run.id} says dog (0.80), run {other.id} says cat (0.60); labelled cat."


def test_the_newest_other_run_is_compared_with_where_none_is_named(session: Session, home: Home, pets: Dataset) -> None:
    run = make_run(session, home, pets, PROBS)
    for recipe in ("disagreement", "flipped"):
        with pytest.raises(Invalid, match="no second finished run to compare with; train one more"):
            queues.build_queue(session, home, dataset=pets, recipe=recipe, run=run)
    make_run(session, home, pets, PROBS)
    newest = make_run(session, home, pets, [PROBS[0], [0.6, 0.3, 0.1], *PROBS[2:]])
    queue = queues.build_queue(session, home, dataset=pets, recipe="disagreement", run=run)
    assert (queue.params["against"], queue.title) == (newest.id, f"Runs {run.id} and {newest.id} disagree")


def test_what_flipped_between_two_runs(session: Session, home: Home, pets: Dataset) -> None:
    """Before, of cat cat dog dog owl owl: cat cat owl cat dog cat; now cat dog dog cat owl dog."""
    before = [[0.9, 0.1, 0.0], [0.6, 0.3, 0.1], [0.0, 0.3, 0.7], [0.5, 0.4, 0.1], [0.1, 0.9, 0.0], [0.5, 0.1, 0.4]]
    other = make_run(session, home, pets, before)
    run = make_run(session, home, pets, PROBS)
    found = {
        kind: build(session, home, pets, "flipped", run=run, against=other.id, kind=kind)
        for kind in ("fixed", "broken", "other", "all")
    }

    assert {kind: places(session, pets, items) for kind, items in found.items()} == {
        "fixed": [2, 4], "broken": [1], "other": [5], "all": [2, 4, 1, 5],
    }  # fmt: skip
    assert found["broken"][0].reason == f"Run {other.id} says cat (0.60), run {run.id} says dog (0.80); labelled cat."
    titles = [queries.get_queue(session, items[0].queue_id).title for items in found.values()]
    assert titles[0] == f"Fixed by run {run.id} (run {other.id} is wrong)"
    with pytest.raises(Invalid, match="no kind of flip; use fixed, broken, other, all"):
        queues.build_queue(session, home, dataset=pets, recipe="flipped", against=other.id, kind="worse")


def test_only_images_that_neither_run_saw_flip(session: Session, home: Home, pets: Dataset) -> None:
    other = make_run(session, home, pets, PROBS[::-1], out_of_sample=[False, True, True, True, True, True])
    run = make_run(session, home, pets, PROBS, out_of_sample=[True, True, True, True, True, False])
    items = build(session, home, pets, "flipped", run=run, against=other.id)
    assert not {0, 5} & set(places(session, pets, items))


def test_near_duplicates_are_groups_shown_by_their_first_image(
    session: Session, home: Home, pets: Dataset, bob: User
) -> None:
    ids = [image.id for image in images_of(session, pets)]
    duplicates.refresh_near_groups(
        session, pets, [FoundGroup([ids[0], ids[1]], 0.9, 0.9), FoundGroup([ids[2], ids[4]], 0.85, 0.7)]
    )
    items = build(session, home, pets, "near_duplicates")

    assert places(session, pets, items) == [2, 0]
    assert items[0].reason == "2 images that look like one picture (P 0.70), with different labels."
    group = duplicate_queries.get_group(session, pets.id, items[0].group_id).group
    action = settling.settle(session, dataset=pets, user=bob, group=group, verdict="keep_best")
    session.refresh(items[0])
    assert items[0].done_action == action
    progress = queries.get_progress(session, queries.get_queue(session, items[0].queue_id))
    assert (progress.done, progress.hits) == (1, 1)

    decisions.undo(session, dataset=pets, user=bob, action=action)
    session.refresh(items[0])
    assert items[0].done_action is None


def test_a_random_sample_is_the_same_for_the_same_seed(session: Session, home: Home, pets: Dataset) -> None:
    drawn = [places(session, pets, build(session, home, pets, "random", seed=seed, limit=5)) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(set(drawn[0])) == 5


def test_an_unlabelled_image_is_uncertain_but_no_label_issue(session: Session, home: Home, pets: Dataset) -> None:
    make_run(session, home, pets, PROBS)
    image = images_of(session, pets)[1]
    image.label_id = None
    session.flush()

    assert places(session, pets, build(session, home, pets, "label_issues")) == [5, 3]
    item = next(each for each in build(session, home, pets, "uncertain") if each.image_id == image.id)
    assert item.reason.endswith("; not labelled.")
    assert item.given_id is None


def test_ties_go_by_image(session: Session, home: Home, pets: Dataset) -> None:
    make_run(session, home, pets, [[0.2, 0.3, 0.5]] * 6, p_wrong=[0.8, 0.8, 0.8, 0.8, 0.1, 0.1])
    assert places(session, pets, build(session, home, pets, "label_issues")) == [0, 1, 2, 3]


def test_chosen_images_come_as_they_are_named(session: Session, home: Home, pets: Dataset, bob: User) -> None:
    make_run(session, home, pets, PROBS, p_wrong=[0.05, 0.7, 0.1, 0.6, 0.2, 0.9])
    images = images_of(session, pets)
    decisions.decide(session, image=images[2], user=bob, verdict="confirm")
    named = ",".join(str(images[place].id) for place in (5, 2, 0, 5, 1)) + ",999999"

    items = build(session, home, pets, "chosen", images=named, where="On the map", random=0)
    assert places(session, pets, items) == [5, 0, 1]
    assert [round(item.p_wrong, 3) for item in items] == [0.9, 0.05, 0.7]
    assert items[0].reason == "On the map; predicted dog, labelled owl."
    assert queries.get_queue(session, items[0].queue_id).title == "On the map"


@pytest.mark.parametrize("images", [None, "", "1,two", "-1", "1.5", "²"])
def test_chosen_images_are_named_by_ids(session: Session, home: Home, pets: Dataset, images: str | None) -> None:
    make_run(session, home, pets, PROBS)
    with pytest.raises(Invalid, match="by their ids"):
        queues.build_queue(session, home, dataset=pets, recipe="chosen", images=images)
