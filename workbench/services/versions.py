"""Versions: the data set as it stood after a decision, rebuilt from the log, fingerprinted and compared."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, cast

from sqlalchemy import Row
from sqlalchemy.orm import Session

from workbench.errors import NotFound
from workbench.models import Dataset, Decision, Image
from workbench.models.states import ClassState, ImageState, fold_class, fold_image, follow_merges, merge_roots
from workbench.queries import decisions as log
from workbench.queries import versions as queries
from workbench.queries.agreement import list_open_blind
from workbench.services.decisions import visible_label

_FEW = 5000  # up to so many images are looked up by id, more are read in one pass


class VersionRow(NamedTuple):
    """One image as it stood. `label` is the class's name, several joined by | while it is ambiguous, "" for none."""

    image_id: int
    path: str
    pixel_sha256: str
    file_sha256: str
    location: str
    class_id: int | None  # after merges; none while ambiguous or unlabelled
    ambiguous_ids: tuple[int, ...]
    label: str
    split: str | None
    status: str
    source: str
    decisions: int  # lines about it that count, opinions, gold and kept labels left out
    keeps_label: bool = False  # it teaches its label whatever the posterior says

    @property
    def content(self) -> tuple[str, str, str, str]:
        """What a version's fingerprint is made of."""
        return (self.pixel_sha256, self.label, self.split or "", self.status)


@dataclass(frozen=True)
class VersionPoint:
    """A version worth naming. `reasons`: what makes it so, in words."""

    decision_id: int
    at: datetime | None
    reasons: tuple[str, ...]
    run_ids: tuple[int, ...]


@dataclass(frozen=True)
class Change:
    """An image that differs between two versions, and the decisions between them that made it so."""

    image_id: int
    before: VersionRow | None  # none: it came in between
    after: VersionRow | None
    decisions: tuple[Decision, ...]


@dataclass(frozen=True)
class Diff:
    """One page of what changed. `next_after` continues it, none at the end."""

    old: int
    new: int
    total: int
    changes: tuple[Change, ...]
    next_after: int | None


# --- one version ------------------------------------------------------------------------------------------------


def states_at(
    session: Session,
    dataset: Dataset,
    decision_id: int | None = None,
    *,
    image_ids: Sequence[int] | None = None,
) -> list[VersionRow]:
    """The images of a version, by id. decision_id: none for the present one, which costs no replay.

    Images belong to it from the log line that says their import is done. image_ids: look at these only.
    """
    head = log.get_last_id(session, dataset_id=dataset.id)
    if decision_id is None or decision_id == head:
        return _stored_states(session, dataset, image_ids)
    if not 0 <= decision_id <= head:
        raise NotFound(f"{dataset.name} has no version {decision_id}; its newest is {head}.")
    return _replayed_states(session, dataset, decision_id, image_ids)


def content_hash(session: Session, dataset: Dataset, decision_id: int | None = None) -> str:
    """What the version holds, in 64 hexadecimal digits: equal wherever the same images carry the same classes."""
    return hash_rows(states_at(session, dataset, decision_id))


def hash_rows(rows: Iterable[VersionRow]) -> str:
    """sha256 over the sorted (pixel_sha256, class, split, status), one line each, fields parted by tabs."""
    lines = sorted("\t".join(row.content) for row in rows)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _stored_states(session: Session, dataset: Dataset, image_ids: Sequence[int] | None) -> list[VersionRow]:
    absent = _absent_imports(session, dataset, None)
    names = {cls.id: cls.name for cls in queries.list_classes(session, dataset_id=dataset.id)}
    counts = log.count_by_image(session, dataset_id=dataset.id)
    stored = queries.list_stored_states(session, dataset_id=dataset.id, image_ids=image_ids)
    return [
        _make_row(
            row,
            class_id=row.label_id,
            ambiguous_ids=tuple(row.ambiguous_ids or ()),
            split=row.split,
            status=row.status,
            source=row.label_source,
            names=names,
            decisions=counts.get(row.id, 0),
            keeps_label=row.keeps_label,
        )
        for row in stored
        if row.import_id not in absent
    ]


def _replayed_states(
    session: Session, dataset: Dataset, decision_id: int, image_ids: Sequence[int] | None
) -> list[VersionRow]:
    absent = _absent_imports(session, dataset, decision_id)
    undone = log.get_undone(session, dataset_id=dataset.id, up_to=decision_id)
    classes = class_states_at(session, dataset, decision_id, undone=undone)
    names = {class_id: state.name for class_id, state in classes.items()}
    roots = follow_merges({class_id: state.merged_into_id for class_id, state in classes.items()})
    lines = queries.list_image_lines(session, dataset_id=dataset.id, up_to=decision_id)
    rows = []
    for row in queries.list_first_states(session, dataset_id=dataset.id, image_ids=image_ids):
        if row.import_id in absent:
            continue
        counting = [line for line in lines.get(row.id, ()) if line.action not in undone]
        state = fold_row(row, counting)
        rows.append(
            _make_row(
                row,
                class_id=visible_label(state, roots),
                ambiguous_ids=state.ambiguous_ids,
                split=state.split,
                status=state.status,
                source=state.source,
                names=names,
                decisions=sum(line.kind in log.COUNTED for line in counting),
                keeps_label=state.keeps_label,
            )
        )
    return rows


def fold_row(row: Row[Any], lines: Iterable[Row[Any]]) -> ImageState:
    """`fold_image` on plain rows: the fold only reads the columns that both have."""
    return fold_image(cast("Image", row), cast("Iterable[Decision]", lines))


def _make_row(
    row: Row[Any],
    *,
    class_id: int | None,
    ambiguous_ids: tuple[int, ...],
    split: str | None,
    status: str,
    source: str,
    names: Mapping[int, str],
    decisions: int,
    keeps_label: bool,
) -> VersionRow:
    if status == "ambiguous":
        label = "|".join(names[ambiguous_id] for ambiguous_id in ambiguous_ids)
    else:
        label = "" if class_id is None else names[class_id]
    return VersionRow(
        row.id, row.path, row.pixel_sha256, row.file_sha256, row.location,
        class_id, ambiguous_ids, label, split, status, source, decisions, keeps_label,
    )  # fmt: skip


def class_states_at(
    session: Session, dataset: Dataset, decision_id: int | None, *, undone: set[str]
) -> dict[int, ClassState]:
    """Every class as it stood, by id; one that was not added yet counts as retired."""
    lines = queries.list_class_lines(session, dataset_id=dataset.id, up_to=decision_id)
    states = {}
    for cls in queries.list_classes(session, dataset_id=dataset.id):
        own = lines.get(cls.id, [])
        counting = [line for line in own if line.action not in undone]
        came = cls.added_by is None or any(line.action == cls.added_by for line in counting)
        states[cls.id] = fold_class(cls, counting, added=came)
    return states


def _absent_imports(session: Session, dataset: Dataset, decision_id: int | None) -> set[int]:
    """The imports whose images are not part of the version: later ones, and those that never came to their end."""
    came = {line.detail["import"]: line.id for line in _import_lines(session, dataset) if line.detail}
    absent = set()
    for source in queries.list_imports(session, dataset_id=dataset.id):
        line_id = came.get(source.id, 0 if source.status == "done" else None)
        if line_id is None or (decision_id is not None and line_id > decision_id):
            absent.add(source.id)
    return absent


def _import_lines(session: Session, dataset: Dataset) -> list[Decision]:
    return queries.list_import_lines(session, dataset_id=dataset.id)


# --- the points worth naming ------------------------------------------------------------------------------------


def list_versions(session: Session, dataset: Dataset) -> list[VersionPoint]:
    """After each import, at each run, at the end of each day of decisions, and now; newest first."""
    reasons: dict[int, list[str]] = defaultdict(list)
    run_ids: dict[int, list[int]] = defaultdict(list)
    sources = {source.id: source.source for source in queries.list_imports(session, dataset_id=dataset.id)}
    for line in _import_lines(session, dataset):
        number = (line.detail or {}).get("import", 0)
        reasons[line.id].append(f"import of {sources.get(number, 'images')}")
    for day, decision_id, count in queries.list_day_ends(session, dataset_id=dataset.id):
        reasons[decision_id].append(f"{count:,} decisions on {day}")
    for run in queries.list_run_points(session, dataset_id=dataset.id):
        reasons[run.decision_id].append(f"run {run.id}")
        run_ids[run.decision_id].append(run.id)
    head = log.get_last_id(session, dataset_id=dataset.id)
    reasons[head].append("now")
    at = queries.get_times(session, list(reasons))
    return [
        VersionPoint(decision_id, at.get(decision_id), tuple(reasons[decision_id]), tuple(run_ids[decision_id]))
        for decision_id in sorted(reasons, reverse=True)
    ]


# --- two versions -----------------------------------------------------------------------------------------------


_Pair = tuple[VersionRow | None, VersionRow | None]


def diff(
    session: Session, dataset: Dataset, old: int, new: int | None = None, *, after: int = 0, limit: int = 50
) -> Diff:
    """What changed from version `old` to `new` (none: now), by image id from the one after `after`.

    Costs a look at what the log touched in between; one pass over the data set if classes changed.
    """
    new = log.get_last_id(session, dataset_id=dataset.id) if new is None else new
    if old > new:
        raise NotFound("Name the older version first.")
    between = _read_between(session, dataset, old, new)
    candidates = _list_candidates(session, dataset, old, new, between=between)
    changed = _list_changed(session, dataset, old, new, candidates=candidates)
    page = [pair for pair in changed if _image_id(pair) > after][: limit + 1]
    shown = page[:limit]
    causes = _list_causes(session, shown, old=old, new=new, between=between)
    changes = tuple(Change(_image_id(pair), *pair, tuple(causes[_image_id(pair)])) for pair in shown)
    more = len(page) > limit
    return Diff(old, new, len(changed), changes, changes[-1].image_id if more else None)


def _image_id(pair: _Pair) -> int:
    row = pair[0] or pair[1]
    return row.image_id if row else 0


def _list_changed(
    session: Session, dataset: Dataset, old: int, new: int, *, candidates: list[int] | None
) -> list[_Pair]:
    before = {row.image_id: row for row in states_at(session, dataset, old, image_ids=candidates)}
    after = {row.image_id: row for row in states_at(session, dataset, new, image_ids=candidates)}
    pairs = [(before.get(image_id), after.get(image_id)) for image_id in sorted(before.keys() | after.keys())]
    return [(first, second) for first, second in pairs if _essence(first) != _essence(second)]


def count_relabelled(session: Session, dataset: Dataset, old: int, new: int) -> int:
    """Images with a label in version `old` that shows them no more in version `new`; merged classes aside.

    One that became ambiguous between its label and others still counts as shown by it.
    """
    between = _read_between(session, dataset, old, new)
    candidates = _list_candidates(session, dataset, old, new, between=between)
    changed = _list_changed(session, dataset, old, new, candidates=candidates)
    roots = merge_roots(queries.list_classes(session, dataset_id=dataset.id))
    return sum(
        not _is_shown(after, roots[before.class_id], roots)
        for before, after in changed
        if before is not None and before.status == "active" and before.class_id is not None
    )


def _is_shown(row: VersionRow | None, class_id: int, roots: Mapping[int, int]) -> bool:
    """Whether that class is the image's label, or one of those that it is ambiguous between."""
    if row is None or row.status == "excluded":
        return False
    return class_id in {roots.get(each) for each in (row.class_id, *row.ambiguous_ids) if each is not None}


def _essence(row: VersionRow | None) -> tuple[Any, ...] | None:
    return None if row is None else (*row.content, row.class_id)


@dataclass(frozen=True)
class _Between:
    """What the log says from one version to a later one, beside the lines of single images."""

    class_lines: dict[int, list[Decision]]  # class id -> lines about it, undos of such lines too
    undos: list[tuple[Decision, set[int]]]  # each with the images that it is finally about
    undone: dict[int, list[Decision]]  # undo line id -> the lines that it is finally about
    imports: dict[int, Decision]  # import id -> the line that says it is done


def _read_between(session: Session, dataset: Dataset, old: int, new: int) -> _Between:
    class_lines = queries.list_class_lines(session, dataset_id=dataset.id, after=old, up_to=new)
    undos = queries.list_undos(session, dataset_id=dataset.id, after=old, up_to=new)
    roots = _find_roots(session, undos)
    by_action: dict[str, list[Decision]] = defaultdict(list)
    for line in queries.list_actions(session, sorted(set(roots.values()))):
        by_action[line.action].append(line)
    reached = []
    for undo in undos:
        lines = by_action[roots[undo.id]]
        reached.append((undo, {line.image_id for line in lines if line.image_id is not None}))
        for class_id in {line.class_id for line in lines if line.image_id is None and line.class_id is not None}:
            class_lines[class_id].append(undo)
    imports = {line.detail["import"]: line for line in _import_lines(session, dataset) if line.detail}
    undone = {undo.id: by_action[roots[undo.id]] for undo in undos}
    return _Between(class_lines, reached, undone, {key: line for key, line in imports.items() if old < line.id <= new})


def _find_roots(session: Session, undos: Sequence[Decision]) -> dict[int, str]:
    """Undo line id -> the action that it is finally about, following undo of undo."""
    roots = {line.id: line.undoes for line in undos if line.undoes is not None}
    while roots:
        lines = queries.list_actions(session, sorted(set(roots.values())))
        older = {line.action: line.undoes for line in lines if line.undoes is not None}
        if not older:
            break
        roots = {line_id: older.get(action, action) for line_id, action in roots.items()}
    return roots


def _list_candidates(session: Session, dataset: Dataset, old: int, new: int, *, between: _Between) -> list[int] | None:
    """The images that may differ; none means that any may."""
    if between.class_lines:
        return None
    touched = queries.list_touched_images(session, dataset_id=dataset.id, after=old, up_to=new)
    touched |= queries.list_imported_images(session, between.imports)
    touched = touched.union(*(image_ids for _, image_ids in between.undos))
    return None if len(touched) > _FEW else sorted(touched)


def _list_causes(
    session: Session, pairs: Sequence[_Pair], *, old: int, new: int, between: _Between
) -> dict[int, list[Decision]]:
    """Per image the lines between the versions that bear on it: its own, undos, changes of its class, its import.

    Whoever reads them, what only leads may know is left out: gold images, and opinions while their queue is open.
    """
    image_ids = [_image_id(pair) for pair in pairs]
    own: dict[int, list[Decision]] = defaultdict(list)
    for line in _leave_hidden_out(session, queries.list_lines_of(session, image_ids, after=old, up_to=new)):
        own[line.image_id or 0].append(line)
    import_ids = queries.get_import_ids(session, image_ids)
    told = _list_told(session, between)
    causes = {}
    for pair in pairs:
        image_id = _image_id(pair)
        lines = own[image_id] + [undo for undo, reached in between.undos if image_id in reached and undo.id in told]
        if pair[0] is None and import_ids[image_id] in between.imports:
            lines.append(between.imports[import_ids[image_id]])
        for class_id in _class_ids(pair):
            lines += between.class_lines.get(class_id, [])
        causes[image_id] = sorted(set(lines), key=lambda line: line.id)
    return causes


def _leave_hidden_out(session: Session, lines: Sequence[Decision]) -> list[Decision]:
    is_open = list_open_blind(session, {line.queue_id for line in lines if line.kind == "opinion" and line.queue_id})
    return [
        line
        for line in lines
        if line.kind != "gold"
        and not (line.kind == "opinion" and (line.queue_id in is_open or (line.detail or {}).get("gold")))
    ]


def _list_told(session: Session, between: _Between) -> set[int]:
    """The undos that take back something that everybody may see."""
    lines = [line for lines in between.undone.values() for line in lines]
    seen = {line.id for line in _leave_hidden_out(session, lines)}
    return {undo_id for undo_id, lines in between.undone.items() if any(line.id in seen for line in lines)}


def _class_ids(pair: _Pair) -> set[int]:
    rows = [row for row in pair if row is not None]
    shown = {row.class_id for row in rows if row.class_id is not None}
    return shown.union(*(row.ambiguous_ids for row in rows))
