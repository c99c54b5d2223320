"""Deciding, undoing, redoing: the rows always say what the log says."""

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from workbench.errors import Conflict, Invalid
from workbench.models import Class, Dataset, Decision, Image, Queue, QueueItem, User
from workbench.services import datasets, decisions
from workbench.services.decisions import Line


def first_image(session: Session, dataset: Dataset) -> Image:
    return session.scalars(select(Image).where(Image.dataset_id == dataset.id).order_by(Image.id)).first()


def class_id(session: Session, dataset: Dataset, name: str) -> int:
    return datasets.get_class(session, dataset, name).id


def test_relabel_changes_the_label_and_its_source(session: Session, pets: Dataset, bob: User) -> None:
    image = first_image(session, pets)

    decisions.decide(session, image=image, user=bob, verdict="relabel", class_id=class_id(session, pets, "dog"))

    assert (image.label.name, image.label_source, image.status) == ("dog", "decision", "active")
    assert image.decided_at is not None


def test_undo_returns_to_what_the_import_said_and_redo_brings_it_back(
    session: Session, pets: Dataset, bob: User
) -> None:
    image = first_image(session, pets)
    dog = class_id(session, pets, "dog")
    action = decisions.decide(session, image=image, user=bob, verdict="relabel", class_id=dog)

    assert decisions.undo_last(session, dataset=pets, user=bob) == action
    assert (image.label_id, image.label_source, image.decided_at) == (image.first_label_id, "imported", None)

    assert decisions.redo_last(session, dataset=pets, user=bob) == action
    assert image.label_id == dog


def test_undo_reaches_back_through_everything_and_redo_forward_again(
    session: Session, pets: Dataset, bob: User
) -> None:
    image = first_image(session, pets)
    dog, owl = class_id(session, pets, "dog"), class_id(session, pets, "owl")
    decisions.decide(session, image=image, user=bob, verdict="relabel", class_id=dog)
    decisions.decide(session, image=image, user=bob, verdict="relabel", class_id=owl)
    decisions.decide(session, image=image, user=bob, verdict="exclude")

    seen = []
    for _ in range(3):
        decisions.undo_last(session, dataset=pets, user=bob)
        seen.append((image.label_id, image.status))
    assert seen == [(owl, "active"), (dog, "active"), (image.first_label_id, "active")]
    with pytest.raises(Invalid, match="nothing of yours left to undo"):
        decisions.undo_last(session, dataset=pets, user=bob)

    seen = []
    for _ in range(3):
        decisions.redo_last(session, dataset=pets, user=bob)
        seen.append((image.label_id, image.status))
    assert seen == [(dog, "active"), (owl, "active"), (owl, "excluded")]
    with pytest.raises(Invalid, match="nothing to redo"):
        decisions.redo_last(session, dataset=pets, user=bob)


def test_redo_is_gone_after_a_new_decision(session: Session, pets: Dataset, bob: User) -> None:
    image = first_image(session, pets)
    decisions.decide(session, image=image, user=bob, verdict="exclude")
    decisions.undo_last(session, dataset=pets, user=bob)
    decisions.decide(session, image=image, user=bob, verdict="confirm")

    with pytest.raises(Invalid, match="nothing to redo"):
        decisions.redo_last(session, dataset=pets, user=bob)


def test_a_decision_in_the_middle_can_be_undone_and_later_ones_stand(
    session: Session, pets: Dataset, bob: User
) -> None:
    image = first_image(session, pets)
    dog, owl = class_id(session, pets, "dog"), class_id(session, pets, "owl")
    middle = decisions.decide(session, image=image, user=bob, verdict="relabel", class_id=dog)
    decisions.decide(session, image=image, user=bob, verdict="relabel", class_id=owl)

    decisions.undo(session, dataset=pets, user=bob, action=middle)

    assert image.label_id == owl


def test_the_same_action_sent_twice_counts_once(session: Session, pets: Dataset, bob: User) -> None:
    image = first_image(session, pets)
    for _ in range(2):
        decisions.decide(session, image=image, user=bob, verdict="exclude", action="abc")

    assert len(session.scalars(select(Decision)).all()) == 1


def test_a_bulk_action_is_undone_as_one(session: Session, pets: Dataset, bob: User) -> None:
    images = session.scalars(select(Image)).all()
    dog = class_id(session, pets, "dog")
    lines = [Line("relabel", image.id, dog) for image in images]

    decisions.submit(session, dataset=pets, user=bob, lines=lines)
    assert {image.label_id for image in images} == {dog}

    decisions.undo_last(session, dataset=pets, user=bob)
    assert [image.label_id for image in images] == [image.first_label_id for image in images]


def test_a_stale_revision_is_a_conflict_and_nothing_is_written(session: Session, pets: Dataset, bob: User) -> None:
    image = first_image(session, pets)
    decisions.decide(session, image=image, user=bob, verdict="exclude")

    with pytest.raises(Conflict):
        decisions.decide(session, image=image, user=bob, verdict="confirm", revision=0)
    assert image.status == "excluded"


def test_ambiguous_keeps_two_classes_and_shows_no_label(session: Session, pets: Dataset, bob: User) -> None:
    image = first_image(session, pets)
    cat, dog = class_id(session, pets, "cat"), class_id(session, pets, "dog")

    decisions.decide(session, image=image, user=bob, verdict="ambiguous", class_ids=[dog, cat])

    assert (image.status, image.label_id, image.ambiguous_ids) == ("ambiguous", None, [cat, dog])
    with pytest.raises(Invalid, match="two or more"):
        decisions.decide(session, image=image, user=bob, verdict="ambiguous", class_ids=[dog])


def test_restore_brings_back_what_stood_before_the_exclusion(session: Session, pets: Dataset, bob: User) -> None:
    image = first_image(session, pets)
    cat, dog = class_id(session, pets, "cat"), class_id(session, pets, "dog")
    decisions.decide(session, image=image, user=bob, verdict="ambiguous", class_ids=[cat, dog])
    decisions.decide(session, image=image, user=bob, verdict="exclude")

    decisions.decide(session, image=image, user=bob, verdict="restore")

    assert image.status == "ambiguous"


def test_a_merge_moves_labels_and_its_undo_brings_them_back(session: Session, pets: Dataset, alice: User) -> None:
    image = first_image(session, pets)
    cat, dog = datasets.get_class(session, pets, "cat"), datasets.get_class(session, pets, "dog")

    action = datasets.merge_class(session, dataset=pets, user=alice, cls=cat, into=dog)
    session.refresh(image)
    assert image.label_id == dog.id
    with pytest.raises(Invalid, match="not a class"):
        datasets.get_class(session, pets, "cat")

    decisions.undo(session, dataset=pets, user=alice, action=action)
    session.refresh(image)
    assert image.label_id == cat.id


def test_classes_swap_names_and_undo(session: Session, pets: Dataset, alice: User) -> None:
    cat = datasets.get_class(session, pets, "cat")
    datasets.edit_class(session, dataset=pets, user=alice, cls=cat, name="kitten", colour="#112233")
    assert (cat.name, cat.colour) == ("kitten", "#112233")

    decisions.undo_last(session, dataset=pets, user=alice)
    assert cat.name == "cat"


def test_undoing_a_rename_whose_name_is_taken_is_refused(session: Session, pets: Dataset, alice: User) -> None:
    cat = datasets.get_class(session, pets, "cat")
    rename = datasets.edit_class(session, dataset=pets, user=alice, cls=cat, name="kitten")
    datasets.add_class(session, dataset=pets, user=alice, name="cat")

    with pytest.raises(Conflict, match="Two classes would be called “cat”"):
        decisions.undo(session, dataset=pets, user=alice, action=rename)


def test_undoing_an_added_class_retires_it(session: Session, pets: Dataset, alice: User) -> None:
    fox = datasets.add_class(session, dataset=pets, user=alice, name="fox")
    assert fox.is_open

    decisions.undo_last(session, dataset=pets, user=alice)
    assert not fox.is_open


def test_a_verdict_anywhere_settles_the_image_in_every_queue_until_undone(
    session: Session, pets: Dataset, bob: User
) -> None:
    image = first_image(session, pets)
    queues = [Queue(dataset_id=pets.id, recipe="random", title="r") for _ in range(2)]
    session.add_all(queues)
    session.flush()
    items = [QueueItem(queue_id=queue.id, image_id=image.id, position=0, score=0.0, reason="drawn") for queue in queues]
    session.add_all(items)

    action = decisions.decide(session, image=image, user=bob, verdict="confirm")
    for item in items:
        session.refresh(item)
    assert [item.done_action for item in items] == [action, action]

    decisions.undo(session, dataset=pets, user=bob, action=action)
    for item in items:
        session.refresh(item)
    assert [item.done_action for item in items] == [None, None]


def test_an_item_stays_done_while_a_later_verdict_stands(session: Session, pets: Dataset, bob: User) -> None:
    image = first_image(session, pets)
    queue = Queue(dataset_id=pets.id, recipe="random", title="r")
    session.add(queue)
    session.flush()
    item = QueueItem(queue_id=queue.id, image_id=image.id, position=0, score=0.0, reason="drawn")
    session.add(item)
    first = decisions.decide(session, image=image, user=bob, verdict="confirm")
    second = decisions.decide(session, image=image, user=bob, verdict="exclude")

    decisions.undo(session, dataset=pets, user=bob, action=first)

    session.refresh(item)
    assert item.done_action == second


def test_the_log_refuses_update_and_delete(session: Session, pets: Dataset, bob: User) -> None:
    decisions.decide(session, image=first_image(session, pets), user=bob, verdict="confirm")
    for statement in ("UPDATE decisions SET kind='exclude'", "DELETE FROM decisions"):
        with pytest.raises(IntegrityError, match="append-only"):
            session.execute(text(statement))


def test_a_class_of_another_data_set_is_refused(session: Session, pets: Dataset, bob: User) -> None:
    other = datasets.ensure_dataset(session, "other")
    stranger = datasets.ensure_classes(session, other, ["cat"])["cat"]
    assert isinstance(stranger, Class)
    with pytest.raises(Invalid, match="open classes"):
        decisions.decide(session, image=first_image(session, pets), user=bob, verdict="relabel", class_id=stranger.id)
