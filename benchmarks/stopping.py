"""Errors left: do the intervals at 90 % hold, at any point of a review? Five hundred reviews simulated on FER2013.

    python -m benchmarks.stopping HOME VOTES.csv [REVIEWS]

HOME holds FER2013 with a promoted run with folds; it is only read. Each simulated review draws a part of the images, a
kind of queue, a reviewer (the votes' winner, on the images where it has 70 % of the votes, or one of the ten raters on
all images) and a P(wrong): as it is before any verdict, or learned from 200, 400 or 1,000 random verdicts of such
reviewers (ml.verdicts). At ten points of each review the interval for what is left in the queue, and for the next
hundred, is held against what the reviewer would find; likewise the interval for the whole data set. Two minutes of one
core.
"""

import csv
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.bought import NAMES
from ml.verdicts import UNUSABLE, learn_p_wrong
from workbench.config import Home
from workbench.db import open_database
from workbench.queries import datasets, learning
from workbench.services.predictions import load_predictions
from workbench.services.stopping import Range, Trail, look_ahead
from workbench.services.versions import states_at

OPTIONS = [*NAMES, "contempt", "unknown", "NF"]
POINTS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.85, 0.95)
KINDS = ("label issues", "whole ranking", "confusion cell", "uncertain", "one class", "random", "no P(wrong)")
LEARNED = (0, 0, 200, 400, 1000)
RANDOM_SHARE = 20  # one in so many is drawn at random
LEARNINGS = 4  # of each number of verdicts


@dataclass(frozen=True, eq=False)
class World:
    """FER2013's images with out-of-sample predictions: (N,) but for probs (N, K) and votes (N, 10)."""

    probs: NDArray[np.float32]
    given: NDArray[np.int64]  # column
    votes: NDArray[np.int64]
    meant: NDArray[np.int64]  # (10,) the column that each option means, UNUSABLE for none
    plain: NDArray[np.float64]  # P(wrong) before any verdict

    @property
    def predicted(self) -> NDArray[np.int64]:
        columns: NDArray[np.int64] = self.probs.argmax(1)
        return columns


def read_world(home: Home, votes: Path) -> World:
    database = open_database(home)
    with database.read() as session:
        dataset = datasets.list_datasets(session)[0]
        names = {cls.id: cls.name for cls in datasets.list_classes(session, dataset.id)}
        paths = {row.image_id: row.path for row in states_at(session, dataset)}
        first = {key: label[0] for key, label in learning.list_labels(session, dataset.id).items()}
    said = load_predictions(home, dataset.promoted_run_id or 1)
    with votes.open(encoding="utf-8") as lines:
        counted = {row["file"]: [int(row[option]) for option in OPTIONS] for row in csv.DictReader(lines)}
    columns = [names[class_id] for class_id in said.class_ids.tolist()]
    ids = said.image_ids.tolist()
    files = [paths[image_id].rsplit("/", 1)[-1] for image_id in ids]
    kept = np.array([file in counted for file in files]) & said.out_of_sample & np.isfinite(said.p_wrong)
    rows = np.flatnonzero(kept)
    meant = [columns.index(NAMES[option]) if option in NAMES else UNUSABLE for option in OPTIONS]
    return World(
        probs=said.probs[rows].astype(np.float32),
        given=np.array([columns.index(names[first[ids[row]] or 0]) for row in rows]),
        votes=np.array([counted[files[row]] for row in rows]),
        meant=np.array(meant),
        plain=said.p_wrong[rows].astype(np.float64),
    )


def ask(world: World, rng: np.random.Generator, *, is_single: bool) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """What the reviewer says of every image (N,), and the images on which they are asked."""
    if is_single:
        totals = world.votes.cumsum(1)
        drawn = rng.random(len(totals)) * totals[:, -1]
        return world.meant[(drawn[:, None] >= totals).sum(1)], np.arange(len(totals))
    sure = world.votes.max(1) >= 0.7 * world.votes.sum(1)
    return world.meant[world.votes.argmax(1)], np.flatnonzero(sure)


def learn(world: World, rng: np.random.Generator, *, count: int, is_single: bool) -> NDArray[np.float64]:
    said, asked = ask(world, rng, is_single=is_single)
    rows = rng.choice(asked, count, replace=False)
    learned = learn_p_wrong(world.probs, world.given, verdict_rows=rows, verdict_classes=said[rows])
    found: NDArray[np.float64] = learned.p_wrong.astype(np.float64)
    found[rows] = np.nan  # these images are settled
    return found


def choose(
    world: World, kind: str, pool: NDArray[np.int64], p: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """The images of a queue, in its order."""
    by_p = pool[np.argsort(-p[pool], kind="stable")]
    predicted = world.predicted
    if kind == "label issues":
        issues = by_p[(predicted[by_p] != world.given[by_p]) | (p[by_p] >= 0.5)]
        return issues[: rng.choice([100, 300, 1000])]
    if kind == "whole ranking":
        return by_p[: rng.choice([2000, 5000])]
    if kind == "confusion cell":
        true, other = rng.choice(world.probs.shape[1], 2, replace=False)
        return by_p[(world.given[by_p] == true) & (predicted[by_p] == other)][:200]
    if kind == "uncertain":
        best = np.sort(world.probs[pool], axis=1)[:, -2:]
        return pool[np.argsort(best[:, 1] - best[:, 0], kind="stable")][:200]
    if kind == "one class":
        return rng.permutation(pool[world.given[pool] == rng.integers(world.probs.shape[1])])[:500]
    if kind == "random":
        return rng.permutation(pool)[:400]
    unlike = pool[predicted[pool] != world.given[pool]]
    return unlike[np.argsort(world.probs[unlike, world.given[unlike]], kind="stable")][:400]


def make_trail(
    world: World, kind: str, pool: NDArray[np.int64], p: NDArray[np.float64], rng: np.random.Generator
) -> tuple[NDArray[np.int64], Trail]:
    """Rows of the queue's images in its order, a random share among them, and the trail with nothing done."""
    rows = choose(world, kind, pool, p, rng)
    is_random = np.zeros(len(rows), np.bool_)
    if kind in KINDS[:4] and len(rows):
        others = np.setdiff1d(pool, rows)
        extra = rng.permutation(others)[: max(1, len(rows) // RANDOM_SHARE)]
        places = np.sort(rng.integers(0, len(rows) + 1, len(extra)))
        rows, is_random = np.insert(rows, places, extra), np.insert(is_random, places, values=True)
    nothing = np.zeros(len(rows), np.bool_)
    known = np.full(len(rows), np.nan) if kind == "no P(wrong)" else p[rows]
    given, suggested = world.given[rows] + 1, world.predicted[rows] + 1
    return rows, Trail(known, nothing, nothing, is_random, given, suggested, np.ones(len(rows)))


@dataclass(frozen=True)
class Told:
    """One interval held against the truth."""

    groups: tuple[str, ...]  # what it counts for in the table
    covers: bool
    width: float  # in images of a hundred


def hold(found: Range, truth: int, *, groups: tuple[str, ...]) -> Told:
    return Told(groups, found.low <= truth <= found.high, 100 * (found.high - found.low) / max(found.of, 1))


def review(
    world: World, rng: np.random.Generator, taught: dict[tuple[int, bool], list[NDArray[np.float64]]]
) -> list[Told]:
    """One simulated review, looked at from every point."""
    is_single, count = bool(rng.random() < 0.4), int(rng.choice(LEARNED))
    said, asked = ask(world, rng, is_single=is_single)
    hits = said != world.given
    p = taught[count, is_single][rng.integers(LEARNINGS)] if count else world.plain
    pool = rng.choice(asked, int(len(asked) * rng.uniform(0.2, 0.8)), replace=False)
    pool = np.sort(pool[np.isfinite(p[pool])])
    kind = str(rng.choice(KINDS))
    rows, trail = make_trail(world, kind, pool, p, rng)
    if len(rows) < 20:
        return []
    told = []
    for point in POINTS:
        done = np.arange(len(rows)) < round(point * len(rows))
        if kind == "no P(wrong)" and done.sum() < 20:
            continue  # nothing is said before twenty verdicts
        outlook = look_ahead(
            Trail(trail.p_wrong, done, hits[rows] & done, trail.is_random, trail.given, trail.suggested, trail.counts),
            learned=count,
        )
        reviewer = "one rater" if is_single else "votes' winner"
        groups = ("all", kind, f"{point:.0%} done", f"{count} verdicts learned", reviewer)
        told.append(hold(outlook.left, int(hits[rows][~done].sum()), groups=groups))
        told.append(hold(outlook.ahead, int(hits[rows[~done][:100]].sum()), groups=("next hundred",)))
    return told


def look_at_dataset(world: World, rng: np.random.Generator) -> Iterator[Told]:
    """The whole data set, from P(wrong) alone and from some random verdicts."""
    is_single = bool(rng.random() < 0.4)
    said, asked = ask(world, rng, is_single=is_single)
    hits = said != world.given
    for count in (0, 50, 200, 400):
        drawn = rng.permutation(asked)
        done = np.arange(len(drawn)) < count
        nothing = np.zeros(len(drawn), np.int64)
        random = np.ones(len(drawn), np.bool_)
        trail = Trail(world.plain[drawn], done, hits[drawn] & done, random, nothing, nothing, np.ones(len(drawn)))
        found = look_ahead(trail).left
        yield hold(found, int(hits[drawn[~done]].sum()), groups=("data set", f"data set, {count} random verdicts"))


def main() -> None:
    world = read_world(Home.at(Path(sys.argv[1])), Path(sys.argv[2]))
    reviews = int(sys.argv[3]) if len(sys.argv) > 3 else 500
    rng = np.random.default_rng(0)
    taught = {
        (count, is_single): [learn(world, rng, count=count, is_single=is_single) for _ in range(LEARNINGS)]
        for count in sorted(set(LEARNED) - {0})
        for is_single in (False, True)
    }
    table: dict[str, list[Told]] = defaultdict(list)
    made = 0
    while made < reviews:
        told = review(world, rng, taught)
        made += bool(told)
        told += list(look_at_dataset(world, rng)) if made % 10 == 0 else []
        for one in told:
            for group in one.groups:
                table[group].append(one)
    print(f"{reviews} reviews, {len(world.given):,} images")
    print("| | looks | covered | width, of 100 images |\n|---|---|---|---|")
    for group, rows in table.items():
        covered, width = np.mean([one.covers for one in rows]), np.mean([one.width for one in rows])
        print(f"| {group} | {len(rows):,} | {covered:.3f} | {width:.0f} |")


if __name__ == "__main__":
    main()
