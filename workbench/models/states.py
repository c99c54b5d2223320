"""What the log says: the state of an image or a class, folded from its decisions. Pure, no session, no clock."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from workbench.models.datasets import Class
from workbench.models.decisions import VERDICTS, Decision
from workbench.models.images import Image


@dataclass(frozen=True)
class ImageState:
    """Everything about an image that decisions can change. `base_label_id` is the label before class merges."""

    base_label_id: int | None
    status: str
    ambiguous_ids: tuple[int, ...]
    split: str | None
    source: str  # imported, decision, consensus
    disputed: bool = False
    gold_id: int | None = None
    keeps_label: bool = False

    @property
    def is_settled(self) -> bool:
        """Whether reviewers have said what the image is."""
        return self.source != "imported"

    @classmethod
    def first(cls, image: Image) -> "ImageState":
        """As it came in."""
        return cls(
            base_label_id=image.first_label_id,
            status=image.first_status,
            ambiguous_ids=tuple(image.first_ambiguous_ids or ()),
            split=image.first_split,
            source="imported",
        )

    @classmethod
    def stored(cls, image: Image) -> "ImageState":
        """As the columns of the row say."""
        return cls(
            base_label_id=image.base_label_id,
            status=image.status,
            ambiguous_ids=tuple(image.ambiguous_ids or ()),
            split=image.split,
            source=image.label_source,
            disputed=image.disputed,
            gold_id=image.gold_id,
            keeps_label=image.keeps_label,
        )


def undone_actions(undos: Iterable[tuple[str, str]]) -> set[str]:
    """The actions that do not count. undos: (action, undoes) of every undo line, oldest first.

    An undo points at something older than itself, so reading from the newest settles undo of undo of undo.
    """
    undone: set[str] = set()
    for action, undoes in reversed(list(undos)):
        if action not in undone:
            undone.add(undoes)
    return undone


def newest_undos(undos: Iterable[tuple[int, str, str]]) -> dict[str, int]:
    """Action -> the newest line that undoes it, or an undo of it, and so on. undos: (id, action, undoes) of each."""
    newest: dict[str, int] = {}
    for line_id, action, undoes in sorted(undos, reverse=True):
        newest[undoes] = max(newest.get(undoes, 0), newest.get(action, 0), line_id)
    return newest


def fold_image(image: Image, decisions: Iterable[Decision]) -> ImageState:
    """The image's state after those of its decisions that count, oldest first."""
    return fold_whole(image, decisions).state


def fold_whole(image: Image, decisions: Iterable[Decision]) -> "ImageFold":
    """As `fold_image`, with what a caller may want to know besides the state."""
    fold = ImageFold(ImageState.first(image))
    for decision in decisions:
        fold.add(decision)
    return fold


Statement = tuple[str, tuple[int, ...]]  # what a reviewer says an image is


def read_statement(kind: str, class_id: int | None, classes: Iterable[int]) -> Statement:
    """Comparable whoever says it: to confirm a label says the same as to choose it."""
    if kind in ("confirm", "relabel"):
        return "is", (class_id or 0,)
    return kind, tuple(classes) if kind == "ambiguous" else ()


@dataclass
class ImageFold:
    """The state of one image while its decisions are read.

    `said`: what each reviewer last said of its class since a lead settled it. `opinions`: queue -> reviewer -> what
    they said blind, since the newest verdict. `completed`: queue -> the line with which so many agreed as it asks for.
    Statements are compared as they were made: a class that was merged into another since still counts as itself.
    """

    state: ImageState
    said: dict[int, Statement] = field(default_factory=dict)
    opinions: dict[int, dict[int, Statement]] = field(default_factory=dict)
    completed: dict[int, int] = field(default_factory=dict)
    agreements: set[int] = field(default_factory=set)  # every line with which the opinions of a queue settled the image
    settled_at: datetime | None = None  # when it was settled last
    is_contradicted: bool = False  # by an ordinary verdict of another reviewer
    is_split: bool = False  # all opinions that a queue asks for are in, and they differ

    def add(self, decision: Decision) -> None:
        detail = decision.detail or {}
        match decision.kind:
            case "confirm" | "relabel" | "ambiguous" | "exclude":
                statement = read_statement(decision.kind, decision.class_id, detail.get("classes", ()))
                self._settle(statement, source="decision", at=decision.at)
                self._forget_opinions()
                self._compare(decision, statement)
            case "consensus":
                self._settle(("is", (decision.class_id or 0,)), source="consensus", at=decision.at)
                self._forget_opinions()
                self._agree()
            case "opinion" if not detail.get("gold"):
                self._hear(decision, detail)
            case "restore":
                status = "ambiguous" if self.state.ambiguous_ids else "active"
                self.state = replace(self.state, status=status)
            case "split":
                self.state = replace(self.state, split=detail["split"])
            case "gold":
                self.state = replace(self.state, gold_id=decision.class_id)
            case "keep":
                self.state = replace(self.state, keeps_label=detail["keeps"])
            case _:  # comment, an answer to a gold item, and what concerns groups or classes
                pass

    def _settle(self, statement: Statement, *, source: str, at: datetime) -> None:
        kind, ids = statement
        self.settled_at = at
        state = replace(self.state, source=source)
        if kind == "is":
            self.state = replace(state, base_label_id=ids[0] or None, status="active", ambiguous_ids=())
        elif kind == "ambiguous":
            self.state = replace(state, status="ambiguous", ambiguous_ids=ids)
        else:
            self.state = replace(state, status="excluded")

    def _forget_opinions(self) -> None:
        self.opinions.clear()
        self.completed.clear()

    def _compare(self, decision: Decision, statement: Statement) -> None:
        """A reviewer who contradicts another makes a dispute; a lead ends it. To exclude says nothing of the class."""
        if decision.role in ("lead", "admin"):
            self._agree()
        if statement[0] == "exclude":
            return
        if decision.role == "reviewer":
            others = [said for user_id, said in self.said.items() if user_id != decision.user_id]
            self.is_contradicted = any(said != statement for said in others)
            self._dispute()
        self.said[decision.user_id] = statement

    def _agree(self) -> None:
        self.said.clear()
        self.is_contradicted = self.is_split = False
        self._dispute()

    def _dispute(self) -> None:
        self.state = replace(self.state, disputed=self.is_contradicted or self.is_split)

    def _hear(self, decision: Decision, detail: Mapping[str, Any]) -> None:
        """When as many opinions are in as the queue asks for, they settle the image or are a dispute."""
        queue_id = decision.queue_id or 0
        statement = read_statement(detail["verdict"], decision.class_id, detail.get("classes", ()))
        heard = self.opinions.setdefault(queue_id, {})
        heard[decision.user_id] = statement
        self.completed.pop(queue_id, None)
        if len(heard) < detail["of"]:
            return
        if len(set(heard.values())) > 1:
            self.is_split = True
            self._dispute()
            return
        self._settle(statement, source="consensus", at=decision.at)
        self._agree()
        self.completed[queue_id] = decision.id
        self.agreements.add(decision.id)


def touching(decisions: Iterable[Decision], undos: Mapping[str, int], fold: ImageFold) -> int:
    """The newest line that may have changed the image, undone or not: what a reviewer saw, they saw as of this line.

    decisions: all of the image. undos: action -> the newest undo of it, of that undo and so on.
    """
    newest = max(fold.agreements, default=0)
    for line in decisions:
        if line.kind in ("gold", "keep", "comment"):
            continue
        if line.kind != "opinion":
            newest = max(newest, line.id)
        newest = max(newest, undos.get(line.action, 0))
    return newest


@dataclass(frozen=True)
class ItemState:
    """What a queue item says about the verdicts on its image."""

    opinions: int
    done_action: str | None
    done_line: int | None
    hit: bool | None


def fold_item(
    decisions: Sequence[Decision], fold: ImageFold, *, queue_id: int, wants: int, after_line: int, given_id: int | None
) -> ItemState:
    """The item's state by those decisions of its image that count, oldest first; `fold` is theirs.

    Done by the newest verdict since its queue was opened, by the agreement of its own queue as long as that stands, or
    by one that another queue came to since: nobody needs to be asked again.
    """
    heard = {line.user_id for line in decisions if line.kind == "opinion" and line.queue_id == queue_id}
    if wants == 0:
        return ItemState(len(heard), None, None, None)
    completed = fold.completed.get(queue_id, 0)
    last, hit = None, False
    for line in decisions:
        is_elsewhere = line.id in fold.agreements and line.queue_id != queue_id
        if ((line.kind in VERDICTS or is_elsewhere) and line.id > after_line) or line.id == completed:
            last, hit = line, is_hit(line, given_id, already=hit)
    if last is None:
        return ItemState(len(heard), None, None, None)
    return ItemState(len(heard), last.action, last.id, hit)


def is_hit(line: Decision, given_id: int | None, *, already: bool) -> bool:
    """Whether the image is now other than it was when its queue was built. already: whether it was before this verdict.

    To confirm what was relabelled before keeps the hit; to confirm what was given never is one, merged since or not.
    """
    kind = (line.detail or {})["verdict"] if line.kind == "opinion" else line.kind
    if kind == "confirm":
        return already and line.class_id != given_id
    return kind in ("exclude", "ambiguous") or line.class_id != given_id


def fold_opinions(decisions: Iterable[Decision]) -> dict[tuple[int, int], Decision]:
    """(queue, reviewer) -> the newest opinion line of those decisions that count."""
    return {
        (line.queue_id, line.user_id): line
        for line in decisions
        if line.kind == "opinion" and line.queue_id is not None
    }


def fold_votes(decisions: Iterable[Decision]) -> dict[str, tuple[int | None, int]]:
    """Option -> its class and how many votes the image's decisions that count carry over to it."""
    found: dict[str, tuple[int | None, int]] = {}
    for decision in decisions:
        if decision.kind == "votes":
            for option, class_id, count in (decision.detail or {})["votes"]:
                found[option] = class_id, found.get(option, (None, 0))[1] + count
    return found


def verdict_keys(detail: Mapping[str, Any]) -> list[str]:
    """The groups that a verdict on duplicates settles: the one it was given on, and what is left of it."""
    return [detail["group"], detail["rest"]] if "rest" in detail else [detail["group"]]


@dataclass(frozen=True)
class ClassState:
    name: str
    position: int
    colour: str
    key: str
    retired: bool
    merged_into_id: int | None


def fold_class(cls: Class, decisions: Iterable[Decision], *, added: bool) -> ClassState:
    """The class's state after those of its decisions that count. added: whether the action that made it counts."""
    state = ClassState(
        name=cls.first_name,
        position=cls.first_position,
        colour=cls.first_colour,
        key=cls.first_key,
        retired=not added,
        merged_into_id=None,
    )
    for decision in decisions:
        detail = decision.detail or {}
        match decision.kind:
            case "class_edit":
                state = replace(state, **detail)
            case "class_merge":
                state = replace(state, merged_into_id=detail["into"])
            case "class_retire":
                state = replace(state, retired=True)
            case "class_restore":
                state = replace(state, retired=False)
            case _:
                pass
    return state


def merge_roots(classes: Sequence[Class]) -> dict[int, int]:
    """Class id -> the class that its images carry, following merges."""
    return follow_merges({cls.id: cls.merged_into_id for cls in classes})


def follow_merges(into: Mapping[int, int | None]) -> dict[int, int]:
    """Class id -> the class at the end of its chain of merges. into: class id -> what it was merged into."""
    roots = {}
    for start in into:
        current, seen = start, {start}
        while (following := into.get(current)) is not None and following not in seen:
            current = following
            seen.add(current)
        roots[start] = current
    return roots
