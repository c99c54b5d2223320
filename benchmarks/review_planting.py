"""A home with one data set of N images, a run that says something about each, a queue over all and 10,000 decisions.

The rows are what an import, a training and a month of reviewing leave behind; the pictures are a few hundred small PNG
files, each of which stands for many rows, because a review opens few of them. All but the rows of images and votes is
made by the services themselves, so that `workbench check` finds no difference in it.

    python -m benchmarks.review_planting HOME COUNT
"""

import io
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from sqlalchemy import insert, select

from ml.neighbours import nearest_rows
from workbench import storage
from workbench.config import Home
from workbench.db import Database, open_database
from workbench.models import Dataset, Image, Import, QueueItem, Run, Vote, utc_now
from workbench.queries import datasets as dataset_queries
from workbench.services import datasets, decisions, queues, users
from workbench.services.decisions import Line
from workbench.services.predictions import STORED_NEIGHBOURS, Predictions, save_predictions

NAME = "planted"
CLASSES = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
SHARES = (0.14, 0.015, 0.14, 0.25, 0.17, 0.17, 0.115)
DECIDED = 10_000
QUEUE_ID = 1
_PICTURES = 300
_COPIES = 0.03  # share of the images that have the pixels of another
_WRONG = 0.2
_SIDE = 48
_FEATURES = 64
_CHUNK = 20_000


def plant(folder: Path, *, count: int, decided: int = DECIDED, seed: int = 0) -> None:
    """Make the home; nothing is done where one of that size is there already. About 150 microseconds an image."""
    done = folder / f"planted-{count}"
    if done.exists():
        return
    rng = np.random.default_rng(seed)
    home = Home.at(folder)
    database = open_database(home)
    files = [_store_picture(home, rng) for _ in range(_PICTURES)]
    with database.write() as session:
        dataset = datasets.ensure_dataset(session, NAME)
        classes = datasets.ensure_classes(session, dataset, list(CLASSES))
        source = Import(dataset_id=dataset.id, source="planted", format="folder", options={}, status="done")
        session.add(source)
        session.flush()
        dataset_id, import_id = dataset.id, source.id
        class_ids = np.array([classes[name].id for name in CLASSES], np.int64)
    said, shown = _imagine(rng, count, class_ids)
    given = np.where(rng.random(count) < _WRONG, rng.integers(0, len(CLASSES), count), shown)
    _write_images(database, rng, files, said, given, shown, dataset_id=dataset_id, import_id=import_id)
    with database.write() as session:
        _add_run(session, home, dataset_id, said)
    with database.write() as session:
        dataset = dataset_queries.get_dataset(session, NAME)
        queues.build_queue(session, home, dataset=dataset, recipe="label_issues", limit=count, every=True)
    _decide(database, rng, decided)
    database.close()
    done.touch()


def _store_picture(home: Home, rng: np.random.Generator) -> tuple[str, int]:
    """Soft clouds of grey as a PNG in the object store: its hash and its size."""
    cells = Picture.fromarray(rng.integers(0, 256, (6, 6), np.uint8)).resize((_SIDE, _SIDE), Picture.Resampling.BICUBIC)
    noise = rng.normal(0, 6, (_SIDE, _SIDE))
    target = io.BytesIO()
    Picture.fromarray(np.clip(np.asarray(cells) + noise, 0, 255).astype(np.uint8)).save(target, "PNG")
    data = target.getvalue()
    return storage.put_object(home, data), len(data)


def _imagine(
    rng: np.random.Generator, count: int, class_ids: NDArray[np.int64]
) -> tuple[Predictions, NDArray[np.int64]]:
    """What a run says about the images 1 to count, and the column of the class that each of them really shows."""
    shown = rng.choice(len(CLASSES), count, p=SHARES)
    logits = rng.normal(0, 1, (count, len(CLASSES))).astype(np.float32)
    logits[np.arange(count), shown] += 2
    probs = np.exp(logits)
    probs /= probs.sum(1, keepdims=True)
    features = rng.normal(0, 1, (len(CLASSES), _FEATURES)).astype(np.float32)[shown]
    features += rng.normal(0, 1, (count, _FEATURES)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    ranked = np.sort(probs, axis=1)
    said = Predictions(
        image_ids=np.arange(1, count + 1),
        probs=probs.astype(np.float16),
        out_of_sample=np.ones(count, bool),
        p_wrong=rng.random(count).astype(np.float32),
        suggested=probs.argmax(1),
        entropy=(-(probs * np.log(probs)).sum(1) / np.log(len(CLASSES))).astype(np.float32),
        margin=1 - (ranked[:, -1] - ranked[:, -2]),
        features=features.astype(np.float16),
        class_ids=class_ids,
        neighbours=nearest_rows(features.astype(np.float16), k=STORED_NEIGHBOURS),
    )
    return said, shown


def _write_images(
    database: Database,
    rng: np.random.Generator,
    files: list[tuple[str, int]],
    said: Predictions,
    given: NDArray[np.int64],
    shown: NDArray[np.int64],
    *,
    dataset_id: int,
    import_id: int,
) -> None:
    """given, shown: int (N,) columns of the class that each image is labelled with and of the one that it shows."""
    fixed = {
        "dataset_id": dataset_id, "import_id": import_id, "location": storage.STORED, "width": _SIDE, "height": _SIDE,
        "mode": "L", "media_type": "image/png",
    }  # fmt: skip
    for start in range(0, len(given), _CHUNK):
        rows = range(start, min(start + _CHUNK, len(given)))
        images = [{**fixed, **_describe(rng, files, said, given, row)} for row in rows]
        votes = [vote for row in rows for vote in _vote(rng, said.class_ids, shown, row)]
        with database.write() as session:
            session.connection().execute(insert(Image.__table__), images)
            session.connection().execute(insert(Vote.__table__), votes)


def _describe(
    rng: np.random.Generator, files: list[tuple[str, int]], said: Predictions, given: NDArray[np.int64], row: int
) -> dict[str, Any]:
    file, size = files[row % len(files)]
    label, split = int(said.class_ids[given[row]]), "validation" if row % 9 == 0 else "train"
    pictured = int(rng.integers(0, row)) if row and rng.random() < _COPIES else row
    return {
        "id": row + 1,
        "path": f"{split}/{CLASSES[given[row]]}/{row:07d}.png",
        "file_sha256": file,
        "pixel_sha256": f"{pictured * 0x9E3779B97F4A7C15 % 2**64:016x}{pictured:048x}",  # scattered, as hashes are
        "size_bytes": size,
        "first_label_id": label,
        "base_label_id": label,
        "label_id": label,
        "first_split": split,
        "split": split,
        "predicted_id": int(said.class_ids[said.suggested[row]]),
        "confidence": float(said.probs[row].max()),
        "p_wrong": float(said.p_wrong[row]),
    }


def _vote(
    rng: np.random.Generator, class_ids: NDArray[np.int64], shown: NDArray[np.int64], row: int
) -> Iterator[dict[str, Any]]:
    """Ten raters, most of whom see what is shown."""
    others = rng.integers(0, len(CLASSES), rng.integers(0, 4)).tolist()
    votes = [int(shown[row])] * (10 - len(others)) + others
    for column in sorted(set(votes)):
        yield {
            "image_id": row + 1,
            "option": CLASSES[column],
            "class_id": int(class_ids[column]),
            "count": votes.count(column),
            "first_count": votes.count(column),
        }


def _add_run(session: Any, home: Home, dataset_id: int, said: Predictions) -> None:
    run = Run(
        dataset_id=dataset_id, arch="compact", preset="quick", config={}, status="done", decision_id=0,
        content_hash="", promoted_at=utc_now(),
    )  # fmt: skip
    session.add(run)
    session.flush()
    session.get_one(Dataset, dataset_id).promoted_run_id = run.id
    save_predictions(home, run.id, said)


def _decide(database: Database, rng: np.random.Generator, decided: int) -> None:
    """What two reviewers said about the first images of the queue."""
    verdicts = rng.choice(["confirm", "relabel", "exclude", "ambiguous"], decided, p=[0.55, 0.4, 0.03, 0.02])
    for start in range(0, decided, 1000):
        with database.write() as session:
            dataset = dataset_queries.get_dataset(session, NAME)
            user = users.ensure_user(session, f"reviewer{start // 1000 % 2}")
            items = session.scalars(
                select(QueueItem)
                .where(QueueItem.queue_id == QUEUE_ID, QueueItem.position >= start)
                .order_by(QueueItem.position)
                .limit(min(1000, decided - start))
            )
            lines = [[_answer(item, str(verdicts[item.position]))] for item in items]
            decisions.submit_each(session, dataset=dataset, user=user, actions=lines, forced="planted")


def _answer(item: QueueItem, verdict: str) -> Line:
    given, suggested = item.given_id or 0, item.suggested_id or 0
    if verdict == "confirm":
        return Line("confirm", item.image_id, given)
    if verdict == "exclude":
        return Line("exclude", item.image_id)
    if verdict == "ambiguous" and given != suggested:
        return Line("ambiguous", item.image_id, detail={"classes": sorted({given, suggested})})
    return Line("relabel", item.image_id, suggested)


def main() -> None:
    began = time.monotonic()
    plant(Path(sys.argv[1]), count=int(sys.argv[2]))
    print(f"{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
