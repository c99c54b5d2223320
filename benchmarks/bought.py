"""Two hundred decisions on FER2013 by replay, and what home says that they bought.

    python -m benchmarks.bought HOME VOTES.csv [DECISIONS]

HOME is a copy of a home in which FER2013 has a promoted run with folds; it is changed. A third of the decisions each is
given in a queue of label issues, in one of a confusion cell and in a random one, each the winner of the votes; then a
head on the promoted run learns from them (seconds) and is promoted. Prints the table of `workbench bought` and whether
it adds up to what the comparison of the two runs says. Ten to sixty seconds of one core.
"""

import csv
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from workbench.config import Home
from workbench.db import open_database
from workbench.models import Dataset, QueueItem, User
from workbench.queries import datasets as dataset_queries
from workbench.queries import queues as queue_queries
from workbench.queries import runs as run_queries
from workbench.services import comparisons, decisions, queue_plans, queues, users
from workbench.worker import trainings
from workbench.worker.buying import weigh
from workbench.worker.context import Context

NAMES = {
    "neutral": "neutral", "happiness": "happy", "surprise": "surprise", "sadness": "sad", "anger": "angry",
    "disgust": "disgust", "fear": "fear",
}  # fmt: skip


def read_winners(votes: Path) -> dict[str, str | None]:
    """File name -> class of the votes' winner, none where it is no class of FER2013."""
    with votes.open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    options = [*NAMES, "contempt", "unknown", "NF"]
    return {row["file"]: NAMES.get(max(options, key=lambda option: int(row[option]))) for row in rows}


def decide(
    session: Session, dataset: Dataset, item: QueueItem, *, user: User, winners: Mapping[str, str | None]
) -> None:
    classes = {cls.name: cls.id for cls in dataset_queries.list_open_classes(session, dataset.id)}
    name = winners.get(item.image.path.rsplit("/", 1)[-1])
    said: dict[str, Any] = {"verdict": "exclude"}
    if name is not None:
        same = classes[name] == item.image.label_id
        said = {"verdict": "confirm"} if same else {"verdict": "relabel", "class_id": classes[name]}
    decisions.decide(session, image=item.image, user=user, queue_id=item.queue_id, **said)


def review(
    context: Context, name: str, *, recipe: str, count: int, winners: Mapping[str, str | None], **params: str
) -> None:
    """Open a queue of training images and settle its first ones."""
    with context.database.read() as session:
        dataset = dataset_queries.get_dataset(session, name)
        run = run_queries.get_promoted(session, dataset)
        plan = queue_plans.plan_queue(
            session,
            context.home,
            dataset=dataset,
            recipe=recipe,
            run=run,
            limit=max(count, 50),
            split="train",
            **params,
        )
    with context.database.write() as session:
        queue = queues.open_queue(session, plan)
        user = users.ensure_user(session, "replay")
        dataset = dataset_queries.get_dataset(session, name)
        for item in queue_queries.list_items(session, queue.id, is_open=True, limit=count):
            decide(session, dataset, item, user=user, winners=winners)


def main() -> None:
    home = Home.at(Path(sys.argv[1]))
    winners = read_winners(Path(sys.argv[2]))
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 200
    context = Context(open_database(home), home)
    with context.database.read() as session:
        dataset = dataset_queries.list_datasets(session)[0]
        name, first = dataset.name, dataset.promoted_run_id
    share = count // 3
    review(context, name, recipe="label_issues", count=count - 2 * share, winners=winners)
    review(context, name, recipe="confusion", cell="sad:neutral", count=share, winners=winners)
    review(context, name, recipe="random", count=share, winners=winners)
    made = trainings.train(context, dataset=name, arch="head", from_run=first)
    began = time.process_time()
    found = weigh(context, dataset=name, run=made["run"])
    print(json.dumps(found, indent=1))
    with context.database.read() as session:
        runs = [run_queries.get_run(session, number) for number in (found["against"], found["run"])]
        compared = comparisons.compare(session, home, run_a=runs[0], run_b=runs[1])
    total = sum(part["difference"] for part in found["parts"]) + found["rest"]["difference"]
    print(f"CPU s to weigh: {time.process_time() - began:.1f}")
    print(f"parts and rest {100 * total:+.3f} points, comparison {100 * compared['difference']:+.3f}")


if __name__ == "__main__":
    main()
