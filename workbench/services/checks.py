"""The replay check: fold the whole log again and compare with what the rows say; name every difference."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, cast

from sqlalchemy import Row
from sqlalchemy.orm import Session

from workbench.models import Dataset, Decision, DuplicateGroup, Image, Queue, QueueItem
from workbench.models.states import (
    ClassState,
    ItemState,
    fold_item,
    fold_opinions,
    fold_votes,
    fold_whole,
    follow_merges,
    newest_undos,
    touching,
    undone_actions,
    verdict_keys,
)
from workbench.queries import decisions as log
from workbench.queries import duplicates, freezing, upkeep, votes
from workbench.queries import versions as queries
from workbench.queries.datasets import list_datasets
from workbench.services import protection
from workbench.services.decisions import visible_label
from workbench.services.queue_marks import ImageLog, make_opinion
from workbench.services.versions import class_states_at


@dataclass(frozen=True)
class Difference:
    """One column that does not say what the log says."""

    kind: str  # image, class, queue item, duplicate group
    id: int
    name: str  # the image's path, the class's name, ...
    column: str
    stored: Any
    replayed: Any

    @property
    def sentence(self) -> str:
        return f"{self.kind} {self.id} ({self.name}): {self.column} is {self.stored!r}, the log says {self.replayed!r}"


@dataclass(frozen=True)
class DatasetCheck:
    dataset: str
    images: int
    decisions: int
    differences: tuple[Difference, ...]


@dataclass(frozen=True)
class CheckReport:
    """`faults`: what SQLite finds wrong with its file, and references to rows that are not there."""

    faults: tuple[str, ...]
    datasets: tuple[DatasetCheck, ...]

    @property
    def ok(self) -> bool:
        return not self.faults and not any(checked.differences for checked in self.datasets)


def check(session: Session, dataset: Dataset | None = None) -> CheckReport:
    """Check the database file and one data set, or all. Costs one pass over the log."""
    chosen = list_datasets(session) if dataset is None else [dataset]
    return CheckReport(tuple(upkeep.list_faults(session)), tuple(check_dataset(session, each) for each in chosen))


def check_dataset(session: Session, dataset: Dataset) -> DatasetCheck:
    undos = log.list_undoing(session, dataset_id=dataset.id)
    undone = undone_actions((action, undoes) for _, action, undoes in undos)
    classes = class_states_at(session, dataset, None, undone=undone)
    rows = queries.list_both_states(session, dataset_id=dataset.id)
    lines = queries.list_image_lines(session, dataset_id=dataset.id)
    groups = queries.list_groups(session, dataset_id=dataset.id)
    standing = _standing_verdicts(session, dataset, undone)
    settled = {group.id: standing[group.key] for group in groups if group.key in standing}
    logs = _fold(rows, lines, undone)
    differences = [
        *_compare_protection(session, dataset, undone),
        *_compare_classes(session, dataset, classes),
        *_compare_images(rows, logs, classes, newest_undos(undos)),
        *_compare_groups(groups, standing),
        *_compare_members(session, groups, standing),
        *_compare_votes(session, dataset, lines, undone),
        *_compare_items(queries.list_queue_items(session, dataset_id=dataset.id), settled, logs),
        *_compare_queues(session, dataset),
        *_compare_opinions(session, dataset, logs),
    ]
    return DatasetCheck(
        dataset=dataset.name,
        images=len(rows),
        decisions=upkeep.count_decisions(session, dataset_id=dataset.id),
        differences=tuple(differences),
    )


def _compare_protection(session: Session, dataset: Dataset, undone: set[str]) -> Iterator[Difference]:
    """Which split is frozen, and what was forced on it."""
    forced = protection.fold_forced(freezing.list_forced(session, dataset.id), undone) or None
    frozen = protection.fold_freezes(freezing.list_freezes(session, dataset.id))
    for column, replayed in (("frozen_split", frozen), ("own_flags", forced)):
        stored = getattr(dataset, column)
        if stored != replayed:
            yield Difference("data set", dataset.id, dataset.name, column, stored, replayed)


def _compare_classes(session: Session, dataset: Dataset, states: Mapping[int, ClassState]) -> Iterator[Difference]:
    for cls in queries.list_classes(session, dataset_id=dataset.id):
        for field in fields(ClassState):
            stored, replayed = getattr(cls, field.name), getattr(states[cls.id], field.name)
            if stored != replayed:
                yield Difference("class", cls.id, cls.name, field.name, stored, replayed)


def _fold(rows: list[Row[Any]], lines: Mapping[int, list[Row[Any]]], undone: set[str]) -> dict[int, ImageLog]:
    logs = {}
    for row in rows:
        every = cast("list[Decision]", lines.get(row.id, []))
        counting = [line for line in every if line.action not in undone]
        logs[row.id] = ImageLog(every, counting, fold_whole(cast("Image", row), counting))
    return logs


def _compare_images(
    rows: list[Row[Any]],
    logs: Mapping[int, ImageLog],
    classes: Mapping[int, ClassState],
    undos: Mapping[str, int],
) -> Iterator[Difference]:
    roots = follow_merges({class_id: state.merged_into_id for class_id, state in classes.items()})
    for row in rows:
        for column, replayed in _replay_image(logs[row.id], roots, undos).items():
            stored = getattr(row, column)
            if stored != replayed:
                yield Difference("image", row.id, row.path, column, stored, replayed)


def _replay_image(found: ImageLog, roots: dict[int, int], undos: Mapping[str, int]) -> dict[str, Any]:
    """What the materialised columns must say."""
    state = found.fold.state
    known = state.base_label_id is None or state.base_label_id in roots
    return {
        "base_label_id": state.base_label_id if known else "a class of this data set",
        "label_id": visible_label(state, roots) if known else None,
        "status": state.status,
        "ambiguous_ids": list(state.ambiguous_ids) or None,
        "split": state.split,
        "label_source": state.source,
        "disputed": state.disputed,
        "gold_id": state.gold_id,
        "keeps_label": state.keeps_label,
        "revision": touching(found.every, undos, found.fold),
        "decided_at": found.fold.settled_at if state.is_settled else None,
    }


def _compare_groups(groups: list[DuplicateGroup], standing: Mapping[str, Decision]) -> Iterator[Difference]:
    for group in groups:
        line = standing.get(group.key)
        settled, verdict = (line.action, (line.detail or {})["verdict"]) if line else (None, None)
        for column, replayed in (("settled_action", settled), ("verdict", verdict)):
            stored = getattr(group, column)
            if stored != replayed:
                yield Difference("duplicate group", group.id, group.key, column, stored, replayed)


def _compare_members(
    session: Session, groups: list[DuplicateGroup], standing: Mapping[str, Decision]
) -> Iterator[Difference]:
    """Which images of a group are other pictures."""
    marked = duplicates.list_apart_members(session, [group.id for group in groups])
    for group in groups:
        line = standing.get(group.key)
        stored, replayed = marked.get(group.id, []), (line.detail or {}).get("apart", []) if line else []
        if stored != (replayed if line and verdict_keys(line.detail or {})[0] == group.key else []):
            yield Difference("duplicate group", group.id, group.key, "apart", stored, replayed)


def _compare_votes(
    session: Session, dataset: Dataset, lines: Mapping[int, list[Row[Any]]], undone: set[str]
) -> Iterator[Difference]:
    """The sum of each vote is what the import said and what counting lines carry over."""
    carried = {
        image_id: fold_votes(cast("list[Decision]", [line for line in every if line.action not in undone]))
        for image_id, every in lines.items()
        if any(line.kind == "votes" for line in every)
    }
    for vote in votes.list_sums(session, dataset_id=dataset.id, image_ids=sorted(carried)):
        replayed = vote.first_count + carried.get(vote.image_id, {}).pop(vote.option, (None, 0))[1]
        if vote.count != replayed:
            yield Difference("vote", vote.image_id, vote.option, "count", vote.count, replayed)
    for image_id, missing in carried.items():
        for option, (_, count) in missing.items():
            yield Difference("vote", image_id, option, "count", 0, count)


def _standing_verdicts(session: Session, dataset: Dataset, undone: set[str]) -> dict[str, Decision]:
    """Group key -> the newest verdict on it that counts."""
    lines = queries.list_group_lines(session, dataset_id=dataset.id)
    found: dict[str, Decision] = {}
    for line in lines:
        if line.action not in undone:
            found.update(dict.fromkeys(verdict_keys(line.detail or {}), line))
    return found


def _compare_items(
    items: list[tuple[QueueItem, Queue]], settled: Mapping[int, Decision], logs: Mapping[int, ImageLog]
) -> Iterator[Difference]:
    """settled: group id -> the verdict that settles it, which its items carry."""
    for item, queue in items:
        replayed = _replay_item(item, queue, logs[item.image_id])
        if item.group_id is not None:
            line = settled.get(item.group_id)
            hit = (line.detail or {})["verdict"] != "not_duplicates" if line else None
            replayed = ItemState(0, line.action if line else None, item.done_line, hit)
        for field in fields(ItemState):
            stored, right = getattr(item, field.name), getattr(replayed, field.name)
            if stored != right:
                name = f"queue {item.queue_id}, image {item.image_id}"
                yield Difference("queue item", item.id, name, field.name, stored, right)


def _replay_item(item: QueueItem, queue: Queue, found: ImageLog) -> ItemState:
    return fold_item(
        found.counting,
        found.fold,
        queue_id=queue.id,
        wants=item.wants,
        after_line=queue.after_line,
        given_id=item.given_id,
    )


def _compare_queues(session: Session, dataset: Dataset) -> Iterator[Difference]:
    """What a queue counts is what its items say."""
    counted = queries.count_items(session, dataset_id=dataset.id)
    for queue in queries.list_queues(session, dataset_id=dataset.id):
        for column, replayed in zip(("size", "done", "hits"), counted.get(queue.id, (0, 0, 0)), strict=True):
            stored = getattr(queue, column)
            if stored != replayed:
                yield Difference("queue", queue.id, queue.title, column, stored, replayed)


def _compare_opinions(session: Session, dataset: Dataset, logs: Mapping[int, ImageLog]) -> Iterator[Difference]:
    stored = {
        (row.image_id, row.queue_id, row.user_id): (row.line_id, row.verdict, row.class_id, row.classes, row.is_gold)
        for row in queries.list_opinions(session, dataset_id=dataset.id)
    }
    replayed = {}
    for image_id, found in logs.items():
        for (queue_id, user_id), line in fold_opinions(found.counting).items():
            row = make_opinion(line, image_id=image_id, queue_id=queue_id, user_id=user_id)
            replayed[image_id, queue_id, user_id] = (row.line_id, row.verdict, row.class_id, row.classes, row.is_gold)
    for key in sorted(stored.keys() | replayed.keys()):
        if stored.get(key) != replayed.get(key):
            name = f"queue {key[1]}, reviewer {key[2]}"
            yield Difference("opinion", key[0], name, "statement", stored.get(key), replayed.get(key))
