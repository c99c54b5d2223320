"""What the last decisions bought: how far the promoted run moved on the frozen test images, part by part, by queue.

The whole is the paired difference between the promoted run and the one before it, as the comparison of the two runs
says it. The part of a queue is what its decisions alone change: heads are fitted on the features of the *older* run,
once with the labels that the queue changed and once without, while the queues before it have theirs; once from the
first queue to the last and once from the last to the first, of which the mean counts. What the whole is more or less
than these parts is what training again changed besides. So parts and rest add up to the whole, image by image.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from workbench.config import Home
from workbench.errors import Invalid, NotFound
from workbench.files import read_json
from workbench.models import Dataset, Run
from workbench.models.states import merge_roots, undone_actions
from workbench.queries import bought as queries
from workbench.queries import datasets as dataset_queries
from workbench.queries import jobs as job_queries
from workbench.queries import versions as version_queries
from workbench.services import users
from workbench.services.comparisons import Pair, judge_pair, show_interval, show_points
from workbench.services.jobs import enqueue
from workbench.services.paired import FEW_DRAWS, compare_right
from workbench.services.training_sets import find_training_set
from workbench.services.versions import states_at

FILE = "bought.json"
MOST_QUEUES = 5  # with a part of their own, those that changed most; the others are told together
ELSEWHERE = 0  # stands for what was decided in no queue
OTHERS = -1  # stands for all other queues


@dataclass(frozen=True, eq=False)
class Changes:
    """What the labels of training images were for the older run and are for the newer one. Rows: N images."""

    image_ids: NDArray[np.int64]  # (N,) ascending
    before: NDArray[np.int64]  # (N,) class id, 0 where the image did not teach
    after: NDArray[np.int64]  # (N,) likewise
    queue: NDArray[np.int64]  # (N,) in which a changed image was decided: its id, ELSEWHERE or OTHERS
    parts: tuple[int, ...]  # the queues, in the order in which reviewers first decided in them
    decided: Mapping[int, int]  # queue -> images decided in it
    titles: Mapping[int, str]

    @property
    def is_changed(self) -> NDArray[np.bool_]:
        return np.asarray(self.before != self.after)

    def labels_with(self, parts: Sequence[int]) -> NDArray[np.int64]:
        """(N,) the labels if only these queues had changed theirs."""
        return np.where(np.isin(self.queue, parts), self.after, self.before)


def find_pair(session: Session, run: Run) -> tuple[Run, Run] | None:
    """(the run before, this run), none where there is nothing to compare it with."""
    before = queries.find_run_before(session, run)
    if before is None or _split_of(before) != _split_of(run):
        return None
    return before, run


def _split_of(run: Run) -> str | None:
    """The split that it was measured on."""
    found: str | None = (run.metrics or {}).get("split")
    return found


def load_bought(home: Home, run_id: int) -> dict[str, Any] | None:
    """What was worked out for a run, none if it was not yet."""
    found: dict[str, Any] | None = read_json(home.run_folder(run_id) / FILE)
    return found


@dataclass(frozen=True)
class Bought:
    """What home tells. report: none before it was worked out. since: verdicts that no promoted run has learned from."""

    report: dict[str, Any] | None
    is_awaited: bool  # there is a run to compare with, so that a worker will work it out
    since: int


def look(session: Session, home: Home, dataset: Dataset) -> Bought | None:
    """None before anything was promoted."""
    run = session.get(Run, dataset.promoted_run_id) if dataset.promoted_run_id else None
    if run is None:
        return None
    report = load_bought(home, run.id)
    since = queries.count_verdicts(session, dataset_id=dataset.id, after=run.decision_id)
    return Bought(report, report is None and find_pair(session, run) is not None, since)


# --- reading what changed ---------------------------------------------------------------------------------------


def read_changes(session: Session, home: Home, run_a: Run, run_b: Run) -> Changes:
    """Costs a replay of the log for the images that teach."""
    dataset = session.get_one(Dataset, run_a.dataset_id)
    before, after = (_read_taught(session, home, dataset, run) for run in (run_a, run_b))
    image_ids = np.array(sorted(before.keys() | after.keys()), np.int64)
    old, new = (np.array([side.get(one, 0) for one in image_ids.tolist()], np.int64) for side in (before, after))
    decided_in, decided = _read_verdicts(session, dataset, after=run_a.decision_id, up_to=run_b.decision_id)
    queue = np.array([decided_in.get(one, ELSEWHERE) for one in image_ids.tolist()], np.int64)
    kept = _choose_parts(queue[old != new], decided)
    folded = np.where(np.isin(queue, sorted(kept)), queue, OTHERS)
    folded[queue == ELSEWHERE] = ELSEWHERE
    parts = tuple(dict.fromkeys([*(key if key in kept else OTHERS for key in decided if key), ELSEWHERE]))
    counts = {part: sum(n for key, n in decided.items() if _fold(key, kept) == part) for part in parts}
    changed = set(folded[old != new].tolist())
    return Changes(
        image_ids, old, new, folded,
        parts=tuple(part for part in parts if counts[part] or part in changed),
        decided=counts,
        titles=queries.list_titles(session, sorted(kept)),
    )  # fmt: skip


def _fold(queue_id: int, kept: set[int]) -> int:
    return queue_id if queue_id in kept or queue_id == ELSEWHERE else OTHERS


def _read_taught(session: Session, home: Home, dataset: Dataset, run: Run) -> dict[int, int]:
    """Image id -> the class that it taught the run, as that class is called now."""
    roots = merge_roots(dataset_queries.list_classes(session, dataset.id))
    trained = set(find_training_set(session, home, run).trained.tolist())
    rows = states_at(session, dataset, run.decision_id)
    return {
        row.image_id: roots.get(row.class_id, row.class_id)
        for row in rows
        if row.image_id in trained and row.class_id is not None
    }


def _read_verdicts(
    session: Session, dataset: Dataset, *, after: int, up_to: int
) -> tuple[dict[int, int], dict[int, int]]:
    """Image id -> the queue of its newest verdict that counts, and queue -> images decided, first queue first."""
    undos = version_queries.list_undos(session, dataset_id=dataset.id, after=after, up_to=up_to)
    undone = undone_actions((undo.action, undo.undoes or "") for undo in undos)
    rows = queries.list_verdicts(session, dataset_id=dataset.id, after=after, up_to=up_to)
    counting = [row for row in rows if row.action not in undone and row.image_id is not None]
    decided_in = {row.image_id: row.queue_id or ELSEWHERE for row in counting}
    decided = dict.fromkeys([row.queue_id or ELSEWHERE for row in counting], 0)
    for queue_id in decided_in.values():
        decided[queue_id] += 1
    return decided_in, decided


def _choose_parts(changed: NDArray[np.int64], decided: Mapping[int, int]) -> set[int]:
    """The queues that changed most labels, and then that decided most."""
    counts = {key: int((changed == key).sum()) for key in decided if key != ELSEWHERE}
    return set(sorted(counts, key=lambda key: (-counts[key], -decided[key], key))[:MOST_QUEUES])


# --- sharing out the difference ---------------------------------------------------------------------------------


def share_out(pair: Pair, changes: Changes, forward: Sequence[Any], backward: Sequence[Any]) -> dict[str, Any]:
    """What is kept and shown. forward: whether each test image is right, bool (T,), with the labels of no queue, of
    the first, of the first two, ... ; backward: likewise from the last queue to the first."""
    labels, (first, second) = pair.labels, pair.answers
    right = [np.asarray(answers == labels) for answers in (first, second)]
    whole = right[1].astype(float) - right[0]
    steps = _average(changes.parts, forward, backward)
    rest = whole - sum(steps.values(), np.zeros(len(labels)))
    found = {
        "run": pair.run_b.id,
        "against": pair.run_a.id,
        "split": pair.split,
        "n": len(labels),
        "decisions": sum(changes.decided.values()),
        "changed": int(changes.is_changed.sum()),
        "parts": [_tell_part(changes, part, steps[part]) for part in changes.parts],
        "rest": _measure(rest),
        "whole": compare_right(*right).report(),
    }
    return {**found, "sentence": make_sentence(found)}


def _average(parts: Sequence[int], forward: Sequence[Any], backward: Sequence[Any]) -> dict[int, NDArray[np.float64]]:
    """Part -> what it adds to each test image being right, (T,): the mean of both orders."""
    ahead = np.diff(np.array(forward, np.float64), axis=0)
    back = np.diff(np.array(backward, np.float64), axis=0)[::-1]
    return {part: (ahead[row] + back[row]) / 2 for row, part in enumerate(parts)}


def _tell_part(changes: Changes, part: int, gain: NDArray[np.float64]) -> dict[str, Any]:
    return {
        "queue": part if part > 0 else None,
        "title": _name(changes, part),
        "decisions": changes.decided[part],
        "changed": int((changes.is_changed & (changes.queue == part)).sum()),
        **_measure(gain),
    }


def _name(changes: Changes, part: int) -> str:
    words = {ELSEWHERE: "Outside of queues", OTHERS: "Other queues"}
    return words.get(part) or changes.titles.get(part, f"Queue {part}, which is gone")


def _measure(gain: NDArray[np.float64], *, seed: int = 0) -> dict[str, float]:
    """The mean over the test images with its 95 % bootstrap interval."""
    values, counts = np.unique(gain, return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(len(gain), counts / len(gain), size=FEW_DRAWS)
    low, high = np.quantile(drawn @ values / len(gain), [0.025, 0.975])
    return {"difference": float(gain.mean()), "low": float(low), "high": float(high)}


def make_sentence(found: Mapping[str, Any]) -> str:
    """For people."""
    whole = found["whole"]
    return (
        f"{found['decisions']:,} decisions changed {found['changed']:,} labels that run {found['run']} learned from; "
        f"on {found['n']:,} images ({found['split']}) it is {show_points(whole['difference'])} points "
        f"[{show_interval(whole)}] from run {found['against']}."
    )


# --- when it is to be worked out --------------------------------------------------------------------------------


def list_due(session: Session, home: Home) -> list[tuple[Dataset, int]]:
    """The data sets whose promoted run was not weighed yet although it can be, each with that run."""
    due = []
    for dataset in dataset_queries.list_datasets(session):
        run = session.get(Run, dataset.promoted_run_id) if dataset.promoted_run_id else None
        if run is None or (home.run_folder(run.id) / FILE).exists() or find_pair(session, run) is None:
            continue
        newest = job_queries.find_newest_job(session, kind="bought", dataset_id=dataset.id)
        if newest is None or newest.params.get("run") != run.id:  # asked for once; what failed is tried by hand
            due.append((dataset, run.id))
    return due


def ask_where_due(session: Session, home: Home) -> None:
    for dataset, run_id in list_due(session, home):
        enqueue(session, kind="bought", user=users.ensure_admin(session), dataset=dataset, run=run_id)


def check_pair(session: Session, home: Home, run: Run) -> Pair:
    """The two runs on the images that neither saw. Raises Invalid where there is nothing to compare with."""
    found = find_pair(session, run)
    if found is None:
        raise NotFound(
            f"No run before run {run.id} learned from fewer decisions and was measured on the same split, so there is "
            "nothing to compare it with."
        )
    pair = judge_pair(session, home, run_a=found[0], run_b=found[1])
    if len(pair.labels) == 0:
        raise Invalid("There is no image to compare the runs on.")
    return pair
