"""What the log says: the state of an image or a class, folded from its decisions. Pure, no session, no clock."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
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
    source: str

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


def fold_image(image: Image, decisions: Iterable[Decision]) -> ImageState:
    """The image's state after those of its decisions that count, oldest first."""
    state = ImageState.first(image)
    for decision in decisions:
        state = _apply(state, decision)
    return state


def _apply(state: ImageState, decision: Decision) -> ImageState:
    detail = decision.detail or {}
    match decision.kind:
        case "confirm" | "relabel":
            return replace(state, base_label_id=decision.class_id, status="active", ambiguous_ids=(), source="decision")
        case "ambiguous":
            ids = tuple(detail["classes"])
            return replace(state, status="ambiguous", ambiguous_ids=ids, source="decision")
        case "exclude":
            return replace(state, status="excluded", source="decision")
        case "restore":
            return replace(state, status="ambiguous" if state.ambiguous_ids else "active")
        case "split":
            return replace(state, split=detail["split"])
        case _:  # comment, and what concerns groups or classes
            return state


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


def has_verdict(decisions: Iterable[Decision]) -> bool:
    """Whether a reviewer has settled the image."""
    return any(decision.kind in VERDICTS for decision in decisions)


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
