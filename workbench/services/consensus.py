"""Consensus of several reviewers: what a worker computes of it, and settling disputed images by it in bulk."""

import functools
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from workbench.config import Home
from workbench.errors import Conflict, Invalid, NotFound
from workbench.files import write_json
from workbench.models import Class, Dataset, Image, Job, User
from workbench.models.states import merge_roots
from workbench.queries import agreement as queries
from workbench.queries import datasets, jobs
from workbench.queries import decisions as log
from workbench.services import decisions, predictions
from workbench.services import jobs as job_services
from workbench.services.agreement import Category, Opinions, make_opinions, read_opinions
from workbench.services.decisions import Line

METHODS = ("majority", "quality")
MOST = 10_000  # one request holds the writer meanwhile
P_ENOUGH = 0.9


# --- what it is computed from -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Material:
    """The opinions, gold answers among them, and what else is known of the images."""

    opinions: Opinions
    known: NDArray[np.int64]  # (N,): category of gold images, -1 for others
    model: NDArray[np.int64] | None  # (N,): what the promoted run says unseen, -1 where it says nothing
    run_id: int | None
    line: int  # the newest decision that it knows


def gather(session: Session, home: Home, dataset: Dataset) -> Material:
    """Everything that reviewers said of an image, blind or not, what they said last counting."""
    opinions = read_opinions(session, dataset, source="all", with_gold=True)
    place = {int(one.key): index for index, one in enumerate(opinions.categories) if one.cls is not None}
    known = np.full(len(opinions.image_ids), -1, np.int64)
    gold = queries.get_gold(session, dataset.id)
    roots = merge_roots(datasets.list_classes(session, dataset.id))
    for row, image_id in enumerate(opinions.image_ids.tolist()):
        known[row] = place.get(roots.get(gold.get(image_id, 0), 0), -1)
    run_id = dataset.promoted_run_id
    model = _ask_model(home, run_id, opinions.image_ids, place) if run_id is not None else None
    return Material(opinions, known, model, run_id if model is not None else None, _newest_line(session, dataset))


def _newest_line(session: Session, dataset: Dataset) -> int:
    return log.get_last_id(session, dataset_id=dataset.id)


def _ask_model(
    home: Home, run_id: int, image_ids: NDArray[np.int64], place: dict[int, int]
) -> NDArray[np.int64] | None:
    try:
        said = predictions.load_predictions(home, run_id)
    except NotFound:
        return None
    found = np.full(len(image_ids), -1, np.int64)
    predicted = said.predicted_ids
    for row, image_id in enumerate(image_ids.tolist()):
        at = said.find(image_id)
        if at is not None and said.out_of_sample[at]:
            found[row] = place.get(int(predicted[at]), -1)
    return found if (found >= 0).any() else None


# --- what came out ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Result:
    """What a worker computed, as its file says. Lists are per image, in the order of `images`."""

    line: int
    run: int | None
    made_at: str
    reviewers: list[dict[str, Any]]  # user, quality, opinions
    model_quality: float | None
    images: list[int]
    keys: list[str]  # of the category, empty where two are equally probable
    p: list[float]
    opinions: list[int]
    _rows: dict[int, int] = field(default_factory=dict, compare=False)

    def find(self, image_id: int) -> tuple[str, float, int] | None:
        """(category key, P, opinions) of an image."""
        if not self._rows:
            self._rows.update({found: row for row, found in enumerate(self.images)})
        row = self._rows.get(image_id)
        return None if row is None else (self.keys[row], self.p[row], self.opinions[row])

    @property
    def moment(self) -> datetime:
        return datetime.fromisoformat(self.made_at)

    def quality_of(self, user_id: int) -> float | None:
        return next((one["quality"] for one in self.reviewers if one["user"] == user_id), None)


def _path(home: Home, dataset: Dataset) -> Path:
    return home.root / "consensus" / f"{dataset.id}.json"


def save_result(home: Home, dataset: Dataset, result: Result) -> None:
    document = {name: value for name, value in asdict(result).items() if not name.startswith("_")}
    write_json(_path(home, dataset), document)


def load_result(session: Session, home: Home, dataset: Dataset) -> Result | None:
    """None before the first, and where the file is damaged: it is computed anew at a key press.

    None too where it knows more than the log, which is then that of an older backup.
    """
    path = _path(home, dataset)
    try:
        stamp = path.stat()
        result = _read(path, stamp.st_mtime_ns, stamp.st_size)
    except (FileNotFoundError, ValueError, TypeError):
        return None
    return result if result.line <= _newest_line(session, dataset) else None


@functools.lru_cache(maxsize=4)
def _read(path: Path, _mtime_ns: int, _size: int) -> Result:
    return Result(**json.loads(path.read_text()))


def ask(session: Session, *, dataset: Dataset, user: User) -> Job:
    """Have a worker compute the consensus; one that waits already will do."""
    waiting = [job for job in jobs.list_open_jobs(session, dataset_id=dataset.id) if job.kind == "consensus"]
    return waiting[0] if waiting else job_services.enqueue(session, kind="consensus", user=user, dataset=dataset)


# --- settling disputed images by it -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Settling:
    """One disputed image and the class that its opinions come to."""

    image: Image
    cls: Class
    p: float
    opinions: int


@dataclass(frozen=True)
class Plan:
    """What settling in bulk would do. `stamp` changes when any of the images is decided on meanwhile."""

    method: str
    threshold: float
    disputed: int
    settling: list[Settling]
    ties: int  # as many say one thing as another
    unsure: int  # P below the threshold
    others: int  # come to ambiguous or exclude, or nothing was computed of them: for a lead to look at
    by_flags: bool  # a model was asked too
    stamp: str

    @property
    def classes(self) -> list[tuple[Class, int]]:
        """The classes that images would get, the most frequent first."""
        by_id = {one.cls.id: one.cls for one in self.settling}
        return [(by_id[found], n) for found, n in Counter(one.cls.id for one in self.settling).most_common()]


def plan_settling(session: Session, home: Home, dataset: Dataset, *, method: str, threshold: float = P_ENOUGH) -> Plan:
    """method: “majority” of the opinions, or “quality” of the reviewers, from the result that a worker computed."""
    if method not in METHODS:
        raise Invalid(f"“{method}” is no way to a consensus; use majority or quality.")
    if not 0.5 <= threshold <= 1:
        raise Invalid("P is a number from 0.5 to 1.", p="From 0.5 to 1.")
    images = queries.list_disputed(session, dataset.id, limit=MOST + 1)
    if len(images) > MOST:
        raise Invalid(f"More than {MOST:,} images are disputed; settle some of them first.")
    if method == "majority":
        found, by_flags = _count_votes(session, dataset, images), False
    else:
        found, by_flags = _look_up(session, home, dataset, images)
    open_classes = {str(cls.id): cls for cls in datasets.list_open_classes(session, dataset.id)}
    settling = []
    outcomes: Counter[str] = Counter()
    for image in images:
        key, p, opinions = found.get(image.id, ("other", 0.0, 0))
        outcome = _weigh(key, p, is_class=key in open_classes, threshold=0.0 if method == "majority" else threshold)
        outcomes[outcome] += 1
        if outcome == "settle":
            settling.append(Settling(image, open_classes[key], p, opinions))
    return Plan(
        method=method,
        threshold=threshold,
        disputed=len(images),
        settling=settling,
        ties=outcomes["tie"],
        unsure=outcomes["unsure"],
        others=outcomes["other"],
        by_flags=by_flags,
        stamp=_stamp(method, settling),
    )


def _weigh(key: str, p: float, *, is_class: bool, threshold: float) -> str:
    if not key:
        return "tie"
    if not is_class:
        return "other"
    return "settle" if p >= threshold else "unsure"


def _count_votes(session: Session, dataset: Dataset, images: Sequence[Image]) -> dict[int, tuple[str, float, int]]:
    """Image id -> (category key, empty for a tie; share of the opinions; opinions)."""
    lines = list_standing(session, [image.id for image in images])
    rows = [(line.image_id, line.user_id, *read_line(line), line.id) for line in lines]
    opinions = make_opinions(rows, datasets.list_classes(session, dataset.id))
    return {
        int(image_id): count_row(row, opinions.categories)
        for image_id, row in zip(opinions.image_ids, opinions.said, strict=True)
    }


def count_row(said: NDArray[np.int16], categories: Sequence[Category]) -> tuple[str, float, int]:
    """(category key, empty for a tie; share of the opinions; opinions) of one image. said: (R,)."""
    counts = np.bincount(said[said >= 0], minlength=len(categories))
    most, total = int(counts.max()), int(counts.sum())
    is_tie = int((counts == most).sum()) > 1
    return "" if is_tie else categories[int(counts.argmax())].key, most / total, total


def list_standing(session: Session, image_ids: Sequence[int]) -> list[Any]:
    """The lines of these images that say what they are and count, gold answers left out, oldest first."""
    lines = [line for line in queries.list_lines_on(session, image_ids) if line.kind in queries.SAYING]
    undone = log.trace(session, {line.action for line in lines}).undone
    return [line for line in lines if line.action not in undone and not (line.detail or {}).get("gold")]


def read_line(line: Any) -> tuple[str, int | None]:
    """(verdict, class id) of a line that says what an image is."""
    return (line.detail or {})["verdict"] if line.kind == "opinion" else line.kind, line.class_id


def _look_up(
    session: Session, home: Home, dataset: Dataset, images: Sequence[Image]
) -> tuple[dict[int, tuple[str, float, int]], bool]:
    """From the worker's result, of the images of which nobody has said anything since."""
    result = load_result(session, home, dataset)
    if result is None:
        raise Invalid("Nothing is known of the reviewers’ quality yet; have it computed first.")
    newer = queries.list_said_since(session, [image.id for image in images], line=result.line)
    known = {image.id: result.find(image.id) for image in images if image.id not in newer}
    return {image_id: found for image_id, found in known.items() if found is not None}, result.run is not None


def _stamp(method: str, settling: Sequence[Settling]) -> str:
    words = " ".join(f"{one.image.id}:{one.image.revision}:{one.cls.id}:{one.opinions}" for one in settling)
    return hashlib.sha256(f"{method} {words}".encode()).hexdigest()[:16]


def settle(
    session: Session,
    made: Plan,
    *,
    dataset: Dataset,
    user: User,
    stamp: str,
    action: str | None = None,
    forced: str = "",
) -> str:
    """Carry the plan out as one action, which one undo takes back. stamp: of the plan that the user saw."""
    if action and log.has_action(session, action):
        return action
    if made.stamp != stamp:
        raise Conflict("Somebody decided on some of these images meanwhile; look at the list again.")
    method = "majority" if made.method == "majority" else "dawid_skene"
    lines = [
        Line("consensus", one.image.id, one.cls.id, {"method": method, "p": round(one.p, 4), "opinions": one.opinions})
        for one in made.settling
    ]
    return decisions.submit(
        session, dataset=dataset, user=user, lines=lines, action=action, by_flags=made.by_flags, forced=forced
    )
