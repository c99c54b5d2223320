"""What a retrain after a review session is worth: seconds, and accuracy beside a full training on the same images.

    python benchmarks/retraining.py HOME VOTES.csv [--dataset fer2013] [--decisions 500]

HOME holds FER2013 and a promoted run; use a copy, since it is changed: DECISIONS of the images that it was trained on
are decided as the winner of their FER+ votes says, those first that it finds most probably wrong (if it was trained
with folds), the others in an order of chance. Then the run is trained again in three ways: from its weights (preset
retrain), by a new head on its features (arch head), and in full (its own settings). Each is compared with the promoted
run and with the full training, on the same images by the newest labels.
"""

import argparse
import csv
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import select

from workbench.config import Home
from workbench.db import open_database
from workbench.models import Class, Image, Run
from workbench.queries import datasets as dataset_queries
from workbench.queries import runs as queries
from workbench.services import comparisons, decisions, users
from workbench.services.training_sets import find_training_set
from workbench.worker.context import Context
from workbench.worker.trainings import train

OPTIONS = {
    "neutral": "neutral", "happiness": "happy", "surprise": "surprise", "sadness": "sad", "anger": "angry",
    "disgust": "disgust", "fear": "fear",
}  # fmt: skip


def read_winners(path: Path) -> dict[str, str]:
    """Path in the data set -> the class with most votes, of the images that have one such class."""
    winners = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            counts = {name: int(row[option]) for option, name in OPTIONS.items()}
            best = max(counts.values())
            leaders = [name for name, count in counts.items() if count == best]
            if len(leaders) == 1 and best > int(row["unknown"]) + int(row["NF"]):
                winners[f"{row['split']}/{row['label']}/{row['file']}"] = leaders[0]
    return winners


def review(context: Context, dataset: str, champion: int, winners: dict[str, str], *, count: int) -> int:
    """Decide on `count` images that the run was trained on. Returns how many labels that changed."""
    with context.database.write() as session:
        found = dataset_queries.get_dataset(session, dataset)
        admin = users.ensure_admin(session)
        classes = {cls.name: cls.id for cls in session.scalars(select(Class).where(Class.dataset_id == found.id))}
        query = select(Image).where(Image.dataset_id == found.id, Image.split == "train", Image.status == "active")
        images = session.scalars(query.order_by(Image.p_wrong.desc().nulls_last(), Image.pixel_sha256))
        taught = set(find_training_set(session, context.home, queries.get_run(session, champion)).trained.tolist())
        chosen = [image for image in images if image.id in taught and image.path in winners][:count]
        for image in chosen:
            class_id = classes[winners[image.path]]
            if class_id == image.label_id:
                decisions.decide(session, image=image, user=admin, verdict="confirm")
            else:
                decisions.decide(session, image=image, user=admin, verdict="relabel", class_id=class_id)
        return sum(image.label_id != image.first_label_id for image in chosen)


def list_ways(champion: Run) -> Iterator[tuple[str, dict[str, Any]]]:
    """Title, and what is asked for."""
    yield "from its weights (preset retrain)", {"preset": "retrain", "from_run": champion.id}
    yield "a head on its features", {"arch": "head", "from_run": champion.id}
    settings = dict(champion.config["overrides"])
    yield "in full", {"arch": champion.arch, "preset": champion.preset, "settings": settings}


def tell(found: dict[str, Any]) -> str:
    points = [f"{100 * found[key]:+.1f}" for key in ("difference", "low", "high")]
    return f"{points[0]} [{points[1]}, {points[2]}], p {comparisons.show_p(found['p'])}: {found['verdict']}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("home", type=Path)
    parser.add_argument("votes", type=Path)
    parser.add_argument("--dataset", default="fer2013")
    parser.add_argument("--decisions", type=int, default=500)
    wanted = parser.parse_args()
    home = Home.at(wanted.home)
    context = Context(open_database(home), home)
    with context.database.read() as session:
        champion = queries.get_promoted(session, dataset_queries.get_dataset(session, wanted.dataset))
        if champion is None:
            parser.error("no run is promoted in this home")
        ways = list(list_ways(champion))
    winners = read_winners(wanted.votes)
    changed = review(context, wanted.dataset, champion.id, winners, count=wanted.decisions)
    print(f"{wanted.decisions:,} decisions changed {changed:,} labels")
    made: dict[str, int] = {}
    for title, asked in ways:
        began, spent = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_utime
        answer = train(context, dataset=wanted.dataset, **asked)
        wall, cpu = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_utime - spent
        made[title] = answer["run"]
        print(f"run {answer['run']}, {title}: {wall:.0f} s, {cpu:.0f} CPU s, {answer['test']['accuracy']:.1%}")
    with context.database.read() as session:
        runs = {title: queries.get_run(session, run_id) for title, run_id in made.items()}
        full = runs["in full"]
        for title, run in runs.items():
            before = comparisons.compare(session, home, run_a=queries.get_run(session, champion.id), run_b=run)
            print(f"{title}, less the promoted run (n = {before['n']:,}): {tell(before)}")
            if run.id != full.id:
                print(f"{title}, less in full: {tell(comparisons.compare(session, home, run_a=full, run_b=run))}")


if __name__ == "__main__":
    main()
