"""Queues that ask several reviewers, and what these say, for tests of agreement and adjudication."""

from collections.abc import Mapping, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from workbench.models import Dataset, Image, Queue, QueueItem, User
from workbench.queries import decisions as log
from workbench.services import datasets, decisions, opinions, users

SHORT = {"c": "cat", "d": "dog", "o": "owl"}  # x: unusable, a: cat or dog, a dot: nothing


def list_images(session: Session, dataset: Dataset) -> list[Image]:
    return list(session.scalars(select(Image).where(Image.dataset_id == dataset.id).order_by(Image.id)))


def ask_several(session: Session, dataset: Dataset, *, asks: int = 2, gold: Sequence[int] = ()) -> Queue:
    """A queue of all images in their order that asks for so many opinions; gold: places of hidden gold items."""
    images = list_images(session, dataset)
    queue = Queue(
        dataset_id=dataset.id, recipe="random", title="Blind", size=len(images) - len(gold), opinions=asks, blind=True,
        after_line=log.get_last_id(session, dataset_id=dataset.id),
    )  # fmt: skip
    session.add(queue)
    session.flush()
    for place, image in enumerate(images):
        session.add(
            QueueItem(
                queue_id=queue.id, image_id=image.id, position=place, score=0.0, given_id=image.label_id,
                reason="drawn at random", wants=0 if place in gold else asks,
            )
        )  # fmt: skip
    session.flush()
    return queue


def have_said(
    session: Session, dataset: Dataset, queue: Queue, said: Mapping[str, str], *, seconds: float | None = None
) -> dict[str, User]:
    """said: name of a reviewer -> a letter per image, as in SHORT. All of the first, then all of the next."""
    people = {name: users.ensure_user(session, name, role="reviewer") for name in said}
    items = list(session.scalars(select(QueueItem).where(QueueItem.queue_id == queue.id).order_by(QueueItem.position)))
    for name, letters in said.items():
        for item, letter in zip(items, letters, strict=False):
            if letter != ".":
                say(session, dataset, item, people[name], letter, seconds=seconds)
    return people


def say(
    session: Session, dataset: Dataset, item: QueueItem, user: User, letter: str, *, seconds: float | None = None
) -> str:
    classes = {short: datasets.get_class(session, dataset, name).id for short, name in SHORT.items()}
    verdict = {"x": "exclude", "a": "ambiguous"}.get(letter, "relabel")
    return opinions.say(
        session,
        item=item,
        user=user,
        verdict=verdict,
        class_id=classes.get(letter),
        class_ids=[classes["c"], classes["d"]] if letter == "a" else [],
        action=decisions.new_action(),
        seconds=seconds,
    )


def decide(session: Session, dataset: Dataset, image: Image, name: str, letter: str, *, role: str = "reviewer") -> str:
    """An ordinary verdict."""
    user = users.ensure_user(session, name, role=role)
    class_id = datasets.get_class(session, dataset, SHORT[letter]).id
    return decisions.decide(session, image=image, user=user, verdict="relabel", class_id=class_id)
