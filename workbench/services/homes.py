"""The home page of a data set: its queues, its model, what reviewing did, and the one thing to do next."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from statistics import median
from typing import Any

from sqlalchemy import Row
from sqlalchemy.orm import Session

from workbench.config import Home
from workbench.models import Class, Dataset, Job, Queue, Run, User, utc_now
from workbench.models.states import undone_actions
from workbench.queries import agreement, datasets, duplicates, planted
from workbench.queries import history as log
from workbench.queries import homes as queries
from workbench.queries import jobs as job_queries
from workbench.queries import queues as queue_queries
from workbench.queries import splits as split_queries
from workbench.queries.duplicates import GroupCounts
from workbench.queries.homes import Yield
from workbench.queries.planted import Planted
from workbench.services import outlooks
from workbench.services.automatic_queues import is_superseded
from workbench.services.measures import wilson
from workbench.services.stopping import AHEAD, Outlook, Range

LAST = 200
SECONDS_UNMEASURED = 4.0  # per decision, until there are enough decisions to measure
_PAUSE_S = 60.0  # a longer gap between two decisions is a break, not thinking
_SCRIPT_S = 0.2  # a shorter one is no person
_ENOUGH = 20
_WORTH_A_TRAINING = 50  # labels reviewed since the promoted run


@dataclass(frozen=True)
class QueueLine:
    """A queue in one line. `rate`: the share of its images that are expected to change, none when nobody knows."""

    queue: Queue
    open: int
    rate: float | None
    is_measured: bool  # the rate is what reviewers found, not what the recipe expects
    minutes: float
    present: list[str]
    disputed: int = 0  # images that wait for a lead
    outlook: Outlook | None = None  # what is left in it, none where nothing says
    is_superseded: bool = False  # an earlier run opened it: it closes when nobody is on it

    @property
    def expected_hits(self) -> float | None:
        if self.outlook is not None:
            return self.outlook.left.expected
        return None if self.rate is None else self.rate * self.open

    @property
    def next_hits(self) -> float:
        """Of the next hundred images. A long queue is not better for being long."""
        if self.outlook is not None:
            return self.outlook.ahead.expected
        return (self.rate or 0) * min(self.open, AHEAD)


@dataclass(frozen=True)
class ErrorRate:
    """The share of wrong labels in a random sample, with its 95 % interval."""

    rate: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Tally:
    """What the newest verdicts did. `corrections`: (label at import, class chosen, how often), most often first."""

    count: int
    kinds: dict[str, int]
    corrections: list[tuple[Class | None, Class, int]]


@dataclass(frozen=True)
class Coverage:
    found: int
    imported: int
    refused: int
    known: int
    dropped: int
    images: int
    excluded: int
    reviewed: int
    splits: dict[str | None, int]
    newest_import_id: int | None


@dataclass(frozen=True)
class Step:
    """The best next thing. `what` names it for the page, which knows the address; `thing` is what it is about."""

    what: str
    words: str
    why: str
    thing: Any = None


@dataclass(frozen=True)
class Overview:
    queues: list[QueueLine]
    seconds: float
    is_measured: bool
    error_rate: ErrorRate | None
    runs: list[Run]
    promoted: Run | None
    tally: Tally
    groups: GroupCounts
    open_groups: GroupCounts
    spanning: int  # groups of copies, settled or not, that still stand in several splits
    scanned: bool
    coverage: Coverage
    planted: Planted | None
    jobs: list[Job]
    disputed: int  # images that wait for a lead
    errors: Range | None  # wrong labels among the images that nobody has decided on
    step: Step


def look(session: Session, home: Home, *, dataset: Dataset, user: User) -> Overview:
    """Everything on the home page, in a number of statements that does not grow with the data."""
    verdicts = queries.list_last_verdicts(session, dataset.id, limit=LAST)
    seconds = measure_seconds(verdicts)
    lines, error_rate = _list_lines(session, home, dataset, seconds or SECONDS_UNMEASURED)
    runs = queries.list_finished_runs(session, dataset.id)
    groups = duplicates.count_groups(session, dataset.id)
    open_groups = duplicates.count_groups(session, dataset.id, state="open")
    scanned = dataset.scanned_at is not None
    coverage = _measure_coverage(session, dataset)
    jobs = job_queries.list_open_jobs(session, dataset_id=dataset.id)
    promoted = next((run for run in runs if run.id == dataset.promoted_run_id), None)
    disputed = agreement.count_disputed(session, dataset.id)
    fresh = queries.count_reviewed_since(session, dataset.id, promoted.created_at) if promoted else coverage.reviewed
    return Overview(
        queues=lines,
        seconds=seconds or SECONDS_UNMEASURED,
        is_measured=seconds is not None,
        error_rate=error_rate,
        runs=runs,
        promoted=promoted,
        tally=_tally(session, dataset, verdicts),
        groups=groups,
        open_groups=open_groups,
        spanning=split_queries.count_spanning(session, dataset.id),
        scanned=scanned,
        coverage=coverage,
        planted=planted.get_planted(session, dataset.id),
        jobs=jobs,
        disputed=disputed,
        errors=outlooks.expect_errors(session, home, dataset),
        step=choose_step(
            user=user,
            coverage=coverage,
            groups=open_groups,
            scanned=scanned,
            runs=runs,
            lines=lines,
            jobs=jobs,
            fresh=fresh,
            disputed=disputed,
        ),
    )


def measure_seconds(verdicts: Sequence[Row[Any]]) -> float | None:
    """The median time from one decision of a reviewer to their next, breaks left out; none before twenty of them."""
    last: dict[int, Any] = {}
    gaps = []
    for verdict in reversed(verdicts):
        before = last.get(verdict.user_id)
        if before is not None and before.action != verdict.action:
            gaps.append((verdict.at - before.at).total_seconds())
        last[verdict.user_id] = verdict
    thinking = [gap for gap in gaps if _SCRIPT_S <= gap <= _PAUSE_S]
    return median(thinking) if len(thinking) >= _ENOUGH else None


def _list_lines(
    session: Session, home: Home, dataset: Dataset, seconds: float
) -> tuple[list[QueueLine], ErrorRate | None]:
    rows = queue_queries.list_queues(session, dataset.id)
    yields = queries.list_yields(session, [row.queue.id for row in rows])
    present = queries.list_present(session, dataset.id, now=utc_now())
    disputed = queries.count_disputed(session, dataset.id)
    ahead = outlooks.look(session, home, dataset, [row.queue for row in rows])
    lines = [
        QueueLine(
            queue=row.queue,
            open=row.open,
            rate=(rate := _expect(row.queue, yields.get(row.queue.id)))[0],
            is_measured=rate[1],
            minutes=(row.open - disputed.get(row.queue.id, 0)) * row.queue.opinions * seconds / 60,
            present=present.get(row.queue.id, []),
            disputed=disputed.get(row.queue.id, 0),
            outlook=ahead.get(row.queue.id),
            is_superseded=is_superseded(row.queue, dataset),
        )
        for row in rows
    ]
    samples = [
        yields[row.queue.id]
        for row in rows
        # while some of a sample are disputed, those that are settled are the plain ones
        if row.queue.recipe == "random" and row.queue.id in yields and not disputed.get(row.queue.id)
    ]
    # by what the next hundred hold: three images that are surely wrong are worth less than a hundred that mostly are
    lines.sort(key=_rank)
    return lines, _estimate(samples)


def _rank(line: QueueLine) -> tuple[bool, bool, float, float, int]:
    hits = line.next_hits, line.expected_hits or 0
    return line.open == 0, line.is_superseded, -round(hits[0]), -hits[1], -line.queue.id


def _expect(queue: Queue, got: Yield | None) -> tuple[float | None, bool]:
    """The hit rate of a queue, and whether it was measured."""
    if got is not None and got.verdicts >= _ENOUGH:
        return got.hits / got.verdicts, True
    return (queue.expected_hits / queue.size if queue.expected_hits is not None and queue.size else None), False


def _estimate(samples: Sequence[Yield]) -> ErrorRate | None:
    """From the newest random queue that says enough."""
    sample = next((one for one in samples if one.verdicts >= _ENOUGH), None)
    if sample is None:
        return None
    low, high = wilson(sample.hits, sample.verdicts)
    return ErrorRate(sample.hits / sample.verdicts, low, high, sample.verdicts)


def _tally(session: Session, dataset: Dataset, verdicts: Sequence[Row[Any]]) -> Tally:
    undos = log.list_undos(session, sorted({verdict.action for verdict in verdicts})) if verdicts else []
    undone = undone_actions((undo.action, undo.undoes or "") for undo in undos)
    counting = [verdict for verdict in verdicts if verdict.action not in undone]
    classes = {cls.id: cls for cls in datasets.list_classes(session, dataset.id)}
    pairs = Counter(
        (verdict.first_label_id, verdict.class_id)
        for verdict in counting
        if verdict.kind == "relabel" and verdict.first_label_id != verdict.class_id
    )
    return Tally(
        count=len(counting),
        kinds=dict(Counter(verdict.kind for verdict in counting)),
        corrections=[(classes.get(old or 0), classes[new], n) for (old, new), n in pairs.most_common(5)],
    )


def _measure_coverage(session: Session, dataset: Dataset) -> Coverage:
    sums = queries.sum_imports(session, dataset.id)
    statuses = datasets.count_statuses(session, dataset.id)
    return Coverage(
        found=sums.found,
        imported=sums.imported,
        refused=sums.refused,
        known=sums.known,
        dropped=sums.dropped,
        images=sum(statuses.values()),
        excluded=statuses.get("excluded", 0),
        reviewed=queries.count_reviewed(session, dataset.id),
        splits=datasets.count_splits(session, dataset.id),
        newest_import_id=queries.get_newest_import_id(session, dataset.id),
    )


def choose_step(
    *,
    user: User,
    coverage: Coverage,
    groups: GroupCounts,
    scanned: bool,
    runs: Sequence[Run],
    lines: Sequence[QueueLine],
    jobs: Sequence[Job],
    fresh: int,
    disputed: int,
) -> Step:
    """One thing to do. A viewer only looks, a reviewer reviews, a lead also sees to what reviewing rests on."""
    if not user.may("reviewer"):
        return Step("look", "Look at the images", "You may look at everything; deciding needs the role reviewer.")
    leads = user.may("lead")
    for job in jobs:
        if job.kind == "import" or coverage.images == 0:
            return Step("job", f"See how far it is: {job.title}", "The next step follows when it is done.", job)
    if coverage.images == 0:
        return Step("import" if leads else "wait", "Import images", "There is nothing in this data set yet.")
    if leads and (step := _prepare(coverage, groups, scanned=scanned, runs=runs, jobs=jobs)):
        return step
    if leads and disputed:
        why = "Reviewers contradict each other about them; only a lead can say which is right."
        return Step("adjudicate", f"Settle {disputed:,} disputed image{'' if disputed == 1 else 's'}", why)
    best = next((line for line in lines if line.open), None)
    if leads and best is not None and fresh >= _WORTH_A_TRAINING and not any(job.kind == "train" for job in jobs):
        return Step("train", "Train again", f"{fresh:,} images were reviewed since the model last learnt.")
    if best is not None:
        return Step("review", f"Review “{best.queue.title}”", _promise(best), best.queue)
    if groups.open:
        return Step("duplicates", "Settle duplicates", f"{groups.open:,} groups of copies wait for a verdict.")
    if not leads:
        return Step("wait", "", "Every queue is done. A lead can build the next one.")
    return Step("build", "Build a queue", "Every queue is done: choose below what to look at next.")


def _prepare(
    coverage: Coverage, groups: GroupCounts, *, scanned: bool, runs: Sequence[Run], jobs: Sequence[Job]
) -> Step | None:
    """What a lead does before reviewing pays: copies found and settled, splits, a first model."""
    busy = {job.kind: job for job in jobs}
    if not scanned and "scan" not in busy:
        why = "Copies of one picture in two splits make a model look better than it is."
        return Step("scan", "Scan for duplicates", why)
    if groups.conflicting:
        why = f"{groups.conflicting:,} groups of copies carry different labels: at least one of each is wrong."
        return Step("duplicates", "Settle duplicates", why)
    if set(coverage.splits) <= {None} and "split" not in busy:
        return Step("split", "Build splits", "No image is in train, validation or test, so nothing can be measured.")
    if not runs:
        if "train" in busy:
            return Step("job", "See how far the training is", "Its predictions open the first queues.", busy["train"])
        return Step("train", "Train a first model", "It finds the labels that are probably wrong and opens queues.")
    return None


def _promise(line: QueueLine) -> str:
    minutes = max(1, round(line.minutes))
    time = f"about {timedelta_words(minutes)}"
    if line.expected_hits is None:
        return f"{line.open:,} images wait, {time}."
    return f"About {max(1, round(line.expected_hits)):,} of {line.open:,} images to change, {time}."


def timedelta_words(minutes: int) -> str:
    """In minutes below two hours, then in hours."""
    if minutes < 120:
        return f"{minutes} minute{'' if minutes == 1 else 's'}"
    return f"{timedelta(minutes=minutes).total_seconds() / 3600:.0f} hours"
