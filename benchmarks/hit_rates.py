"""What queues promise before they are opened, and what a replay with votes then finds in them.

    python -m benchmarks.hit_rates HOME VOTES.csv [--dataset fer2013] [--verdicts 400] [--seeds 4] [--by winners]

HOME holds FER2013 imported without votes, and a promoted run with folds; with a second run, queues of their
disagreements are measured too. HOME itself is left alone: each seed works on a copy. There, first, so many images drawn
at random are reviewed by single raters (one of the ten votes of each, drawn; contempt, unknown and no face exclude the
image) or, `--by winners`, by the winner of the votes, and P(wrong) and P(hit) are learned from their verdicts. Then
each queue is planned, and its promise noted: the share of its images, those drawn at random among them, that it expects
the next verdict to change. The replay asks the same kind of reviewer about every image of the queue, of single raters
what they would find on average: the share of the votes that are not for the label. Its interval says what another draw
of as many images of the kind could give.
"""

import argparse
import csv
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from workbench.config import Home
from workbench.db import Database, open_database
from workbench.models import Dataset, Image, Queue, Run
from workbench.queries import datasets, queues
from workbench.services import decisions, queue_plans, users
from workbench.services import queues as building
from workbench.worker.context import Context
from workbench.worker.learning import learn

OPTIONS = {
    "anger": "angry", "disgust": "disgust", "fear": "fear", "happiness": "happy", "neutral": "neutral",
    "sadness": "sad", "surprise": "surprise", "contempt": "", "unknown": "", "NF": "",
}  # fmt: skip
BY_HAND: list[tuple[str, dict[str, Any]]] = [
    ("label_issues", {"limit": 3000, "title": "The first 3,000 label issues"}),
    ("uncertain", {"score": "margin", "limit": 500}),
    ("filter", {"p_wrong_from": 0.3, "p_wrong_to": 0.7, "limit": 1000, "split": "train"}),
    ("filter", {"label": "happy", "agreement": "disagree", "limit": 1000, "split": "train"}),
    ("random", {"limit": 400, "split": "train", "seed": 7}),
]
OF_TWO_RUNS: list[tuple[str, dict[str, Any]]] = [
    ("disagreement", {"limit": 500}),
    ("flipped", {"kind": "other", "limit": 500}),
]
RATERS, WINNERS = "raters", "winners"
NEAR = 5  # points
Votes = dict[str, list[tuple[str, int]]]


def read_votes(path: Path) -> Votes:
    """Path of the image -> (class or "" for none, raters)."""
    with path.open(newline="", encoding="utf-8") as file:
        return {
            f"{row['split']}/{row['label']}/{row['file']}": [(name, int(row[key])) for key, name in OPTIONS.items()]
            for row in csv.DictReader(file)
        }


def review_at_random(
    database: Database, home: Home, votes: Votes, *, name: str, count: int, seed: int, by: str = RATERS
) -> None:
    rng = np.random.default_rng(seed)
    with database.write() as session:
        dataset = datasets.get_dataset(session, name)
        class_ids = {cls.name: cls.id for cls in datasets.list_classes(session, dataset.id)}
        reviewer = users.ensure_user(session, "replay", role="reviewer")
        queue = building.build_queue(
            session, home, dataset=dataset, recipe="random", limit=count, split="train", seed=1000 + seed
        )
        for item in queues.list_items(session, queue.id, limit=None):
            said = votes[item.image.path]
            raters = np.array([n for _, n in said], float)
            said_one = raters.argmax() if by == WINNERS else rng.choice(len(said), p=raters / raters.sum())
            class_id = class_ids.get(said[said_one][0])
            verdict = "relabel" if class_id else "exclude"
            decisions.decide(
                session, image=item.image, user=reviewer, verdict=verdict, class_id=class_id, queue_id=queue.id
            )


@dataclass(frozen=True)
class Found:
    """What a reviewer of one kind finds in a queue: the share of its images that they change."""

    rate: float
    spread: float  # of its 95 % interval, either side


def replay(session: Session, votes: Votes, image_ids: list[int], *, by: str) -> Found:
    paths = session.scalars(select(Image.path).where(Image.id.in_(image_ids)))
    changed = np.array([_change(path.split("/")[1], votes[path], by=by) for path in paths])
    return Found(float(changed.mean()), float(1.96 * changed.std() / np.sqrt(len(changed))))


def _change(label: str, said: list[tuple[str, int]], *, by: str) -> float:
    """How probably a reviewer of the kind does not leave the label."""
    if by == WINNERS:
        return float(max(said, key=lambda pair: pair[1])[0] != label)
    return 1 - sum(n for name, n in said if name == label) / sum(n for _, n in said)


def list_promises(session: Session, home: Home, dataset: Dataset) -> list[tuple[str, int, float, list[int]]]:
    """(title, size, promised rate, images) of the queues that opened by themselves and of some built by hand."""
    found = [_promise_of_open(session, queue) for queue in queues.list_automatic(session, dataset.id)]
    done = session.scalars(select(Run.id).where(Run.dataset_id == dataset.id, Run.status == "done").order_by(Run.id))
    against = [run_id for run_id in done if run_id != dataset.promoted_run_id][:1]
    two = [(recipe, {**params, "against": against[0], "split": "train"}) for recipe, params in OF_TWO_RUNS if against]
    for recipe, params in [*BY_HAND, *two]:
        plan = queue_plans.plan_queue(session, home, dataset=dataset, recipe=recipe, **params)
        found.append((plan.title, plan.size, (plan.expected_hits or np.nan) / plan.size, plan.image_ids))
    return found


def _promise_of_open(session: Session, queue: Queue) -> tuple[str, int, float, list[int]]:
    ids = [item.image_id for item in queues.list_items(session, queue.id, limit=None)]
    return queue.title, queue.size, (queue.expected_hits or np.nan) / queue.size, ids


def measure(
    base: Path, votes: Votes, *, name: str, verdicts: int, seed: int, by: str
) -> list[tuple[str, int, float, Found]]:
    """(title, size, promised rate, what reviewers find) of each queue."""
    with tempfile.TemporaryDirectory() as folder:
        home = Home.at(shutil.copytree(base, Path(folder) / "home"))
        database = open_database(home)
        if verdicts:
            review_at_random(database, home, votes, name=name, count=verdicts, seed=seed, by=by)
            learn(Context(database=database, home=home), dataset=name)
        with database.read() as session:
            dataset = datasets.get_dataset(session, name)
            rows = [
                (title, size, promised, replay(session, votes, ids, by=by))
                for title, size, promised, ids in list_promises(session, home, dataset)
            ]
        database.close()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path)
    parser.add_argument("votes", type=Path)
    parser.add_argument("--dataset", default="fer2013")
    parser.add_argument("--verdicts", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--by", choices=(RATERS, WINNERS), default=RATERS)
    asked = parser.parse_args()
    votes = read_votes(asked.votes)
    gaps: list[float] = []
    for seed in range(asked.seeds):
        rows = measure(asked.home, votes, name=asked.dataset, verdicts=asked.verdicts, seed=seed, by=asked.by)
        print(f"\nseed {seed}, after {asked.verdicts} random verdicts of {asked.by}")
        print(f"{'queue':<48}{'images':>7}{'promised':>10}{'found':>16}{'gap':>7}")
        own = [100 * (promised - found.rate) for _, _, promised, found in rows]
        for (title, size, promised, found), gap in zip(rows, own, strict=True):
            reached = f"{found.rate:.1%} ± {100 * found.spread:.1f}"
            print(f"{title[:46]:<48}{size:>7}{promised:>10.1%}{reached:>16}{gap:>+7.1f}")
        _sum_up(own)
        gaps += own
    print("\nall seeds: ", end="")
    _sum_up(gaps)


def _sum_up(gaps: list[float]) -> None:
    known = np.array(gaps)[np.isfinite(gaps)]
    sizes = np.abs(known)
    print(f"{(sizes <= NEAR).sum()} of {len(known)} within {NEAR} points; mean gap {known.mean():+.1f}, ", end="")
    print(f"mean size of the gap {sizes.mean():.1f}, largest {sizes.max():.1f}", flush=True)


if __name__ == "__main__":
    main()
