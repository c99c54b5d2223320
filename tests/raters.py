"""Reviewers whose blind opinions are single raters of FER+: for looking at the agreement pages with real disagreement.

    python -m tests.raters fer2013 --home HOME [--images 1500] [--seed 0]

opens a queue that asks three, with hidden gold items, and has anna, ben and chris answer it: each says what one of the
image's ten raters said; chris errs besides, more and more, and is quick about it.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from workbench.config import Home
from workbench.db import open_database
from workbench.models import Dataset, Image, Queue, QueueItem, User, Vote
from workbench.queries import datasets
from workbench.queries import decisions as log
from workbench.services import decisions, opinions, users

NAMES = ("anna", "ben", "chris")
SECONDS = {"anna": 4.2, "ben": 3.1, "chris": 1.4}
GOLD_EVERY = 25
CHUNK = 100


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("dataset")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--images", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    rng = np.random.default_rng(asked.seed)
    database = open_database(Home.at(asked.home))
    with database.write() as session:
        queue_id = open_queue(session, datasets.get_dataset(session, asked.dataset), images=asked.images, rng=rng)
    with database.read() as session:
        item_ids = list(session.scalars(select(QueueItem.id).where(QueueItem.queue_id == queue_id)))
    for name in NAMES:
        for start in range(0, len(item_ids), CHUNK):
            with database.write() as session:
                answer(session, item_ids[start : start + CHUNK], name=name, share=start / len(item_ids), rng=rng)
    database.close()


def open_queue(session: Session, dataset: Dataset, *, images: int, rng: np.random.Generator) -> int:
    """Images with five votes or more for our classes, every 25th of them a gold image with eight for its label."""
    lead = users.ensure_user(session, "lena", role="lead")
    votes = read_votes(session, dataset)
    chosen = [image_id for image_id in sorted(votes) if votes[image_id].sum() >= 5]
    drawn = sorted(rng.permutation(chosen)[:images].tolist())
    plain = [found.id for found in session.scalars(select(Image).where(Image.id.in_(drawn))) if is_plain(found, votes)]
    gold = plain[:: max(1, GOLD_EVERY * len(plain) // len(drawn))]
    opinions.set_gold(session, dataset=dataset, user=lead, image_ids=gold)
    queue = Queue(
        dataset_id=dataset.id, recipe="random", title="Three blind opinions", size=len(drawn) - len(gold), opinions=3,
        blind=True, after_line=log.get_last_id(session, dataset_id=dataset.id),
    )  # fmt: skip
    session.add(queue)
    session.flush()
    for position, image_id in enumerate(drawn):
        image = session.get_one(Image, image_id)
        session.add(
            QueueItem(
                queue_id=queue.id, image_id=image_id, position=position, score=0.0, given_id=image.label_id,
                reason="drawn at random", wants=0 if image_id in gold else 3,
            )
        )  # fmt: skip
    session.flush()
    return queue.id


def read_votes(session: Session, dataset: Dataset) -> dict[int, NDArray[np.int64]]:
    """Image id -> votes for each class of the data set, in the classes' order."""
    places = {cls.id: index for index, cls in enumerate(datasets.list_open_classes(session, dataset.id))}
    query = select(Vote.image_id, Vote.class_id, Vote.count).join(Image, Image.id == Vote.image_id)
    found: dict[int, NDArray[np.int64]] = {}
    for image_id, class_id, count in session.execute(query.where(Image.dataset_id == dataset.id)):
        if class_id in places:
            found.setdefault(image_id, np.zeros(len(places), np.int64))[places[class_id]] += count
    return found


def is_plain(image: Image, votes: dict[int, NDArray[np.int64]]) -> bool:
    return image.label_id is not None and votes[image.id].max() >= 8


def answer(session: Session, item_ids: list[int], *, name: str, share: float, rng: np.random.Generator) -> None:
    """share: how far through the queue the reviewer is."""
    user = users.ensure_user(session, name, role="reviewer")
    dataset_id = session.get_one(Queue, session.get_one(QueueItem, item_ids[0]).queue_id).dataset_id
    votes = read_votes(session, session.get_one(Dataset, dataset_id))
    classes = datasets.list_open_classes(session, dataset_id)
    for item_id in item_ids:
        item = session.get_one(QueueItem, item_id)
        if item.done_action is not None:
            continue
        raters = np.repeat(np.arange(len(classes)), votes[item.image_id])
        raters = np.random.default_rng(item.image_id).permutation(raters)  # three different ones of the same ten
        said = classes[raters[NAMES.index(name)]]
        if name == "chris" and rng.random() < 0.1 + 0.3 * share:
            said = classes[rng.integers(len(classes))]
        draw = rng.random()
        say(session, item, user, class_id=said.id, verdict="exclude" if draw < 0.01 else "relabel", rng=rng)


def say(
    session: Session, item: QueueItem, user: User, *, class_id: int, verdict: str, rng: np.random.Generator
) -> None:
    opinions.say(
        session,
        item=item,
        user=user,
        verdict=verdict,
        class_id=class_id if verdict == "relabel" else None,
        action=decisions.new_action(),
        seconds=round(float(rng.lognormal(np.log(SECONDS[user.name]), 0.5)), 2),
    )


if __name__ == "__main__":
    main()
