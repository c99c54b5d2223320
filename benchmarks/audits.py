"""Do the intervals of an audit hold what they promise, and how much does P(wrong) narrow them?

    python -m benchmarks.audits HOME --dataset fer2013 --votes VOTES.csv [--run 1] [--size 400] [--simulations 1000]

HOME holds the data set with a promoted run whose predictions are out-of-sample, imported without votes. A label is
wrong where the votes' winner is another class, with at least 70 % of them, and right where it is the winner with as
many; images on which the votes agree less are left out. Samples are drawn and estimated as the product does.
"""

import argparse
import csv
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select

from workbench.config import Home
from workbench.db import Database
from workbench.models import SPLITS, Class, Dataset, Image
from workbench.services.audit_estimates import Assistant, Estimate, Sample, estimate_plain
from workbench.services.audit_frames import draw, make_frame
from workbench.services.measures import wilson

OPTIONS = {
    "neutral": "neutral", "happiness": "happy", "surprise": "surprise", "sadness": "sad", "anger": "angry",
    "disgust": "disgust", "fear": "fear",
}  # fmt: skip
SURE = 0.7


@dataclass(frozen=True)
class Population:
    """N labelled images of which it is known whether the label is wrong."""

    class_ids: NDArray[np.int64]
    splits: NDArray[np.int64]
    p_wrong: NDArray[np.float64]
    wrong: NDArray[np.bool_]
    settled: NDArray[np.bool_]


@dataclass
class Tally:
    """What one way to estimate gave, over all simulations."""

    covered: list[bool] = field(default_factory=list)
    widths: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)

    def add(self, estimate: Estimate | None, truth: float) -> None:
        if estimate is None:
            return
        self.covered.append(bool(estimate.low <= truth <= estimate.high))
        self.widths.append(estimate.high - estimate.low)
        self.rates.append(estimate.rate)


def read_votes(path: Path) -> dict[str, tuple[str, float]]:
    """File stem -> (the class with the most votes, its share of them)."""
    found = {}
    with path.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            votes = {name: int(count) for name, count in row.items() if name not in ("split", "label", "file")}
            winner = max(votes, key=lambda name: votes[name])
            share = votes[winner] / max(1, sum(votes.values()))
            found[Path(row["file"]).stem] = (OPTIONS.get(winner, winner), share)
    return found


def load(home: Path, dataset: str, votes: dict[str, tuple[str, float]]) -> Population:
    database = Database(Home.at(home))
    with database.read() as session:
        found = session.scalars(select(Dataset).where(Dataset.name == dataset)).one()
        names = {cls.id: cls.name for cls in session.scalars(select(Class).where(Class.dataset_id == found.id))}
        query = select(Image.path, Image.label_id, Image.split, Image.p_wrong).where(
            Image.dataset_id == found.id, Image.p_wrong.is_not(None), Image.label_id.is_not(None)
        )
        rows = [
            (label_id, SPLITS.index(split) if split else -1, p_wrong, winner != names[label_id])
            for path, label_id, split, p_wrong in session.execute(query.order_by(Image.id))
            for winner, share in [votes.get(Path(path).stem, ("", 0.0))]
            if share >= SURE
        ]
    database.close()
    class_ids, splits, p_wrong, wrong = zip(*rows, strict=True)
    return Population(
        np.array(class_ids, np.int64),
        np.array(splits, np.int64),
        np.array(p_wrong, np.float64),
        np.array(wrong, np.bool_),
        np.zeros(len(rows), np.bool_),
    )


def put_right(population: Population, count: int) -> Population:
    """After the labels that are most probably wrong were reviewed."""
    top = np.argsort(-population.p_wrong, kind="stable")[:count]
    settled, wrong = population.settled.copy(), population.wrong.copy()
    settled[top], wrong[top] = True, False
    return replace(population, settled=settled, wrong=wrong)


def simulate(population: Population, *, size: int, simulations: int, seed: int = 0) -> dict[str, Tally]:
    """Every way to draw and to estimate, as often as asked."""
    count, truth = len(population.wrong), float(population.wrong.mean())
    tallies: dict[str, Tally] = {}
    plain = replace(population, p_wrong=np.full(count, np.nan), settled=np.zeros(count, np.bool_))
    for name, own in (("stratified", plain), ("with P(wrong)", population)):
        frame, cell_of, wanted = make_frame(
            class_ids=own.class_ids, splits=own.splits, p_wrong=own.p_wrong, settled=own.settled, size=size
        )
        domains = {int(class_id): frame.class_ids == class_id for class_id in np.unique(own.class_ids)}
        truths = {class_id: float(own.wrong[own.class_ids == class_id].mean()) for class_id in domains}
        for number in range(simulations):
            rng = np.random.default_rng([seed, number])
            if name == "stratified":
                drawn = rng.choice(count, size, replace=False)
                tallies.setdefault("simple random", Tally()).add(_simple(population.wrong[drawn], count), truth)
            drawn = draw(cell_of, frame, wanted, rng=rng)
            sample = Sample(cell_of[drawn], population.wrong[drawn])
            tallies.setdefault(f"{name}, verdicts alone", Tally()).add(estimate_plain(frame, sample), truth)
            if name == "stratified":
                continue
            helper = Assistant(frame, sample)
            tallies.setdefault(f"{name}, assisted", Tally()).add(helper.estimate(), truth)
            for class_id, domain in domains.items():
                tallies.setdefault("each class, assisted", Tally()).add(helper.estimate(domain), truths[class_id])
    return tallies


def _simple(wrong: NDArray[np.bool_], count: int) -> Estimate:
    low, high = wilson(int(wrong.sum()), len(wrong))
    return Estimate(float(wrong.mean()), low, high, len(wrong), int(wrong.sum()), count)


def describe(tallies: dict[str, Tally], truth: float) -> Iterator[dict[str, Any]]:
    base = float(np.mean(tallies["simple random"].widths))
    for name, tally in tallies.items():
        width, coverage = float(np.mean(tally.widths)), float(np.mean(tally.covered))
        is_whole = not name.startswith("each")
        yield {
            "estimate": name,
            "width": width,
            "narrower": 1 - width / base if is_whole else None,
            "coverage": coverage,
            "coverage_interval": wilson(sum(tally.covered), len(tally.covered)),
            "bias": float(np.mean(tally.rates)) - truth if is_whole else None,
            "worth": (base / width) ** 2 if is_whole else None,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path)
    parser.add_argument("--dataset", default="fer2013")
    parser.add_argument("--votes", type=Path, required=True)
    parser.add_argument("--size", type=int, default=400)
    parser.add_argument("--simulations", type=int, default=1000)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    population = load(given.home, given.dataset, read_votes(given.votes))
    scenes = {"as imported": population, "after the top 5,000 were put right": put_right(population, 5000)}
    document: dict[str, Any] = {}
    for name, scene in scenes.items():
        truth, started = float(scene.wrong.mean()), time.process_time()
        rows = list(describe(simulate(scene, size=given.size, simulations=given.simulations), truth))
        seconds = time.process_time() - started
        document[name] = {"truth": truth, "images": len(scene.wrong), "rows": rows, "cpu_s": seconds}
        print(f"{name}: {len(scene.wrong):,} images, {truth:.2%} wrong, n = {given.size}, {seconds:.0f} CPU s")
        for row in rows:
            low, high = row["coverage_interval"]
            less = (
                "" if row["narrower"] is None else f"  {-100 * row['narrower']:+.0f} %  bias {100 * row['bias']:+.2f}"
            )
            print(
                f"  {row['estimate']:32} width {100 * row['width']:5.2f} points  coverage {row['coverage']:.3f} "
                f"[{low:.3f}, {high:.3f}]{less}"
            )
    if given.json:
        given.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
