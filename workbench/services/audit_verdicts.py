"""What reviewers said about the sample of an audit, as of any version: from the log, so that it can be read again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy.orm import Session

from workbench.models import Audit, Dataset, Decision, Image
from workbench.models.states import ImageFold, fold_item, fold_whole, follow_merges, undone_actions
from workbench.queries import audits as queries
from workbench.queries import decisions as log
from workbench.services import versions
from workbench.services.audit_frames import Frame, read_frame

KINDS = ("confirmed", "relabelled", "excluded", "ambiguous")


@dataclass(frozen=True)
class Verdict:
    """One image of a sample. `kind`: one of KINDS, empty while it waits; the rest says nothing then.

    `wrong`: it shows another class than it was given, is no picture of any class, or stands between others only.
    `class_id`: what it shows, after merges; none for what was excluded or is ambiguous.
    """

    image_id: int
    path: str
    cell: int
    given_id: int
    predicted_id: int | None
    kind: str
    wrong: bool
    class_id: int | None
    line_id: int | None
    is_own: bool  # given blind, in the audit's own queue
    said: tuple[Any, ...]  # what each of several reviewers said of it, in the order of the first words


@dataclass(frozen=True)
class Reading:
    """The sample of an audit with its verdicts, as the version `decision_id` says them."""

    audit: Audit
    frame: Frame
    decision_id: int
    verdicts: tuple[Verdict, ...]
    names: dict[int, str]  # of all classes, at that version
    roots: dict[int, int]

    @property
    def answered(self) -> list[Verdict]:
        return [verdict for verdict in self.verdicts if verdict.kind]

    def name_shown(self, verdict: Verdict) -> str:
        """The class that an answered image shows, or why it shows none."""
        words = {"excluded": "unusable", "ambiguous": "ambiguous"}
        return words.get(verdict.kind) or self.names.get(verdict.class_id or 0, "")

    @property
    def is_complete(self) -> bool:
        return len(self.answered) == len(self.verdicts)


@dataclass(frozen=True)
class _Material:
    """What is read of the samples, in a number of statements that does not grow with the number of audits."""

    drawn: Mapping[int, Sequence[queries.Drawn]]
    first: Mapping[int, Any]
    lines: Mapping[int, Sequence[Any]]
    undos: Sequence[Any]

    def undone(self, up_to: int | None) -> set[str]:
        kept = [row for row in self.undos if up_to is None or row.id <= up_to]
        return undone_actions((row.action, row.undoes) for row in kept)


def read_verdicts(
    session: Session, dataset: Dataset, audits: Sequence[Audit], *, decision_id: int | None = None
) -> list[Reading]:
    """The samples as of version `decision_id`; none for the one in which each became complete, or for now."""
    ids = [audit.id for audit in audits]
    material = _Material(
        drawn=queries.list_drawn(session, ids),
        first=queries.list_first_states(session, ids),
        lines=queries.list_lines(session, ids),
        undos=queries.list_undos(session, dataset.id),
    )
    head = log.get_last_id(session, dataset_id=dataset.id)
    return [
        _read(session, dataset, audit, material, decision_id or _find_end(audit, material) or head) for audit in audits
    ]


def _find_end(audit: Audit, material: _Material) -> int | None:
    """The line with which the last image was settled; none while some wait."""
    undone = material.undone(None)
    ends = []
    for drawn in material.drawn[audit.id]:
        counting = [line for line in material.lines.get(drawn.image_id, ()) if line.action not in undone]
        new = [line.id for line in counting if line.id > audit.decision_id]
        end = next((line_id for line_id in new if _is_settled(audit, drawn, material, counting, line_id)), None)
        if end is None:
            return None
        ends.append(end)
    return max(ends, default=None)


def _is_settled(audit: Audit, drawn: queries.Drawn, material: _Material, counting: Sequence[Any], up_to: int) -> bool:
    lines = [line for line in counting if line.id <= up_to]
    _, item = _fold(audit, drawn, material.first[drawn.image_id], lines)
    return item.done_action is not None


def _fold(audit: Audit, drawn: queries.Drawn, first: Any, lines: Sequence[Any]) -> tuple[ImageFold, Any]:
    """The folds only read the columns that plain rows have too."""
    decisions = cast("Sequence[Decision]", lines)
    fold = fold_whole(cast("Image", first), decisions)
    item = fold_item(
        decisions,
        fold,
        queue_id=audit.queue_id,
        wants=drawn.wants,
        after_line=audit.decision_id,
        given_id=drawn.given_id,
    )
    return fold, item


def _read(session: Session, dataset: Dataset, audit: Audit, material: _Material, decision_id: int) -> Reading:
    undone = material.undone(decision_id)
    states = versions.class_states_at(session, dataset, decision_id, undone=undone)
    roots = follow_merges({class_id: state.merged_into_id for class_id, state in states.items()})
    frame = read_frame(audit.frame)
    verdicts = []
    for drawn in material.drawn[audit.id]:
        first = material.first[drawn.image_id]
        every = material.lines.get(drawn.image_id, ())
        counting = [line for line in every if line.id <= decision_id and line.action not in undone]
        verdicts.append(_judge(audit, drawn, first, counting, given_id=int(frame.class_ids[drawn.cell]), roots=roots))
    names = {class_id: state.name for class_id, state in states.items()}
    return Reading(audit, frame, decision_id, tuple(verdicts), names, roots)


def _judge(
    audit: Audit,
    drawn: queries.Drawn,
    first: Any,
    counting: Sequence[Any],
    *,
    given_id: int,
    roots: Mapping[int, int],
) -> Verdict:
    fold, item = _fold(audit, drawn, first, counting)
    given = roots.get(given_id, given_id)
    kind, wrong, class_id = _compare(fold, given, roots) if item.done_action is not None else ("", False, None)
    own = [line for line in counting if line.queue_id == audit.queue_id]
    said = {line.user_id: _say(line, roots) for line in own if line.kind == "opinion"}
    return Verdict(
        image_id=drawn.image_id,
        path=first.path,
        cell=drawn.cell,
        given_id=given,
        predicted_id=None if drawn.predicted_id is None else roots.get(drawn.predicted_id, drawn.predicted_id),
        kind=kind,
        wrong=wrong,
        class_id=class_id,
        line_id=item.done_line,
        is_own=any(line.id == item.done_line for line in own),
        said=tuple(said.values()),
    )


def _compare(fold: ImageFold, given: int, roots: Mapping[int, int]) -> tuple[str, bool, int | None]:
    state = fold.state
    if state.status == "excluded":
        return "excluded", True, None
    if state.status == "ambiguous":
        between = {roots.get(class_id, class_id) for class_id in state.ambiguous_ids}
        return "ambiguous", given not in between, None
    shown = roots.get(state.base_label_id or 0, state.base_label_id or 0)
    return ("confirmed", False, shown) if shown == given else ("relabelled", True, shown)


def _say(line: Any, roots: Mapping[int, int]) -> tuple[Any, ...]:
    detail = line.detail or {}
    if detail["verdict"] == "relabel":
        return ("is", roots.get(line.class_id, line.class_id))
    return (detail["verdict"], *sorted(detail.get("classes", ())))
