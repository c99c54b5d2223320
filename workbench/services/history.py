"""The log as people read it: one entry per action, with what it changed and whether it still counts."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy.orm import Session

from workbench.errors import Forbidden, NotFound
from workbench.models import Class, Dataset, Decision, Image, Import, User
from workbench.models.states import fold_image, merge_roots, undone_actions
from workbench.queries import datasets, log_lines, review
from workbench.queries import decisions as log
from workbench.queries import history as queries
from workbench.queries.log_lines import LogFilter, Sight
from workbench.queries.review import Picture
from workbench.services import decisions

_TALLY_UP_TO = 5000  # a bulk action beyond this is told by its number alone


@dataclass(frozen=True)
class Shown:
    """What an image shows at one moment: its class, unless it is ambiguous or excluded."""

    label: Class | None
    status: str
    ambiguous: tuple[Class, ...]
    split: str | None


@dataclass(frozen=True)
class Entry:
    """One action, told by its first line. `image`, `before`, `after` only where it is about one image."""

    line: Decision
    lines: int
    image: Image | None
    before: Shown | None
    after: Shown | None
    cls: Class | None
    into: Class | None
    tally: tuple[tuple[str, Class | None, int], ...]
    imported: Import | None
    root: Decision | None  # what an undo is finally about
    root_lines: int
    root_class: Class | None
    undone_by: Decision | None
    picked: tuple[Class, ...] = ()  # what an opinion finds possible, where it is “ambiguous”

    @property
    def is_among_several(self) -> bool:
        """Whether it is an opinion of several; one of a queue that asks nobody else answers a hidden gold image."""
        return self.line.kind == "opinion" and (self.line.detail or {}).get("of", 0) > 1

    @property
    def groups(self) -> int:
        """How many duplicate groups it settled."""
        if self.lines == 1:
            return int(self.line.kind == "duplicates")
        return sum(lines for kind, _, lines in self.tally if kind == "duplicates")

    @property
    def words(self) -> str:
        """What it did, in a few words."""
        return phrase(self)

    @property
    def is_redo(self) -> bool:
        """An undo of an undo."""
        return self.root is not None and self.line.undoes != self.root.action


def list_entries(
    session: Session,
    dataset: Dataset,
    *,
    viewer: User | None = None,
    image_id: int | None = None,
    kinds: Sequence[str] = (),
    limit: int = 50,
) -> list[Entry]:
    """The newest actions first, as far as `viewer` may see them; without one, as far as everybody may."""
    wanted = LogFilter(dataset.id, sight_of(viewer), image_id=image_id, kinds=tuple(kinds))
    return find_page(session, dataset, wanted, limit=limit).entries


def sight_of(viewer: User | None) -> Sight:
    """Leads see all of the log; others see neither gold images nor what others said blind in a queue that is open."""
    return Sight(all=viewer is not None and viewer.may("lead"), user_id=viewer.id if viewer else 0)


@dataclass(frozen=True)
class LogPage:
    """The newest actions that fit, and how to go on: see `workbench.queries.log_lines.Found`."""

    entries: list[Entry]
    before: int | None
    looked_to: datetime | None


def find_page(
    session: Session, dataset: Dataset, wanted: LogFilter, *, before: int | None = None, limit: int = 50
) -> LogPage:
    """`before`: the line below which to go on."""
    found = log_lines.find_actions(session, wanted, before=before, limit=limit)
    return LogPage(
        describe(session, dataset, queries.get_lines(session, found.line_ids)), found.before, found.looked_to
    )


class Face(NamedTuple):
    """What a thumbnail of an image needs."""

    id: int
    width: int
    pixel_sha256: str


@dataclass(frozen=True)
class Recent:
    """One of a reviewer's last actions, as the strip under the card shows it."""

    action: str
    kind: str
    lines: int
    queue_id: int | None
    picture: Face | None  # none for bulk actions and verdicts on groups
    before: Class | None
    cls: Class | None
    ambiguous: tuple[Class, ...]


def list_recent(
    session: Session, dataset: Dataset, classes: Sequence[Class], *, user: User, limit: int = 10
) -> list[Recent]:
    """The user's newest actions that count, newest first. Read after every decision, hence not by `describe`."""
    lines = review.list_recent_lines(session, dataset_id=dataset.id, user_id=user.id, most=12 * limit)
    actions: dict[str, list[Picture]] = defaultdict(list)
    for line in lines:
        actions[line.action].append(line)
    newest = list(actions)[: limit + 5]
    undone = log.trace(session, newest).undone
    by_id = {cls.id: cls for cls in classes}
    return [_recent(actions[action], by_id) for action in newest if action not in undone][:limit]


def _recent(lines: list[Picture], by_id: dict[int, Class]) -> Recent:
    line = lines[0]
    detail = line.detail or {}
    ambiguous = detail.get("classes", []) if "ambiguous" in (line.kind, detail.get("verdict")) else []
    return Recent(
        action=line.action,
        kind="duplicates" if any(other.kind == "duplicates" for other in lines) else _kind_of(line, detail),
        lines=len(lines),
        queue_id=line.queue_id,
        picture=Face(line.image_id, line.width, line.pixel_sha256) if len(lines) == 1 and line.image_id else None,
        before=by_id.get(line.before_id or 0),
        cls=by_id.get(line.class_id or 0),
        ambiguous=tuple(by_id[found] for found in ambiguous if found in by_id),
    )


def _kind_of(line: Picture, detail: dict[str, Any]) -> str:
    """An opinion looks like the verdict that it is; a blind one does not tell what the label was before."""
    if line.kind != "opinion":
        return str(line.kind)
    if detail["verdict"] in ("confirm", "relabel"):
        return "confirm" if detail["of"] > 1 or line.class_id == line.before_id else "relabel"
    return str(detail["verdict"])


def describe(session: Session, dataset: Dataset, lines: Sequence[Decision]) -> list[Entry]:
    """Entries for the actions that these lines belong to, in the order given. A constant number of statements."""
    if not lines:
        return []
    counts = queries.count_lines(session, [line.action for line in lines])
    firsts = queries.get_first_lines(session, [action for action, number in counts.items() if number > 1])
    lines = [firsts.get(line.action, line) for line in lines]
    single = {line.image_id for line in lines if line.image_id is not None and counts[line.action] == 1}
    images = queries.get_images(session, sorted(single))
    logs = _by_image(review.list_lines(session, sorted(single)))
    roots = _find_roots(session, lines)
    root_counts = queries.count_lines(session, [root.action for root in roots.values()]) if roots else {}
    actions = {line.action for line in lines} | {line.action for found in logs.values() for line in found}
    undos = queries.list_undos(session, sorted(actions))
    book = _Book(session, dataset, logs=logs, undos=undos)
    tallies = _tally(session, counts)
    imports = queries.get_imports(session, [_number(line, "import") for line in lines if line.kind == "import"])
    entries = []
    for line in lines:
        image = images.get(line.image_id or 0) if counts[line.action] == 1 else None
        root = roots.get(line.action)
        entries.append(
            Entry(
                line=line,
                lines=counts[line.action],
                image=image,
                before=book.before(image, line) if image else None,
                after=book.after(image, line) if image else None,
                cls=book.classes.get(line.class_id or 0),
                into=book.classes.get(_number(line, "into")),
                tally=tuple((kind, book.classes.get(cls or 0), n) for kind, cls, n in tallies.get(line.action, [])),
                imported=imports.get(_number(line, "import")),
                root=root,
                root_lines=root_counts[root.action] if root else 0,
                root_class=book.classes.get(root.class_id or 0) if root else None,
                undone_by=book.undone_by(line.action),
                picked=book.pick(line),
            )
        )
    return entries


class _Book:
    """The logs of a few images, to be folded up to any of their lines."""

    def __init__(
        self, session: Session, dataset: Dataset, *, logs: dict[int, list[Decision]], undos: list[Decision]
    ) -> None:
        classes = datasets.list_classes(session, dataset.id)
        self.classes = {cls.id: cls for cls in classes}
        self._roots = merge_roots(classes)
        self._logs = logs
        self._undone = undone_actions((undo.action, undo.undoes or "") for undo in undos)
        self._undos = undos

    def before(self, image: Image, line: Decision) -> Shown:
        """What the image showed, by the lines that count now."""
        return self._shown(image, [other for other in self._logs[image.id] if other.id < line.id])

    def after(self, image: Image, line: Decision) -> Shown:
        lines = [other for other in self._logs[image.id] if other.id < line.id]
        return self._shown(image, [*lines, line], always=line.action)

    def _shown(self, image: Image, lines: list[Decision], *, always: str = "") -> Shown:
        counting = [line for line in lines if line.action == always or line.action not in self._undone]
        state = fold_image(image, counting)
        label_id = decisions.visible_label(state, self._roots)
        return Shown(
            label=self.classes.get(label_id or 0),
            status=state.status,
            ambiguous=tuple(self.classes[found] for found in state.ambiguous_ids if found in self.classes),
            split=state.split,
        )

    def pick(self, line: Decision) -> tuple[Class, ...]:
        """The classes of an ambiguous opinion."""
        ids = (line.detail or {}).get("classes", ()) if line.kind == "opinion" else ()
        return tuple(self.classes[found] for found in ids if found in self.classes)

    def undone_by(self, action: str) -> Decision | None:
        """The newest undo of it, if it does not count now."""
        if action not in self._undone:
            return None
        return next(undo for undo in reversed(self._undos) if undo.undoes == action)


def _by_image(lines: Sequence[Decision]) -> dict[int, list[Decision]]:
    found: dict[int, list[Decision]] = defaultdict(list)
    for line in lines:
        if line.image_id is not None:
            found[line.image_id].append(line)
    return found


def _find_roots(session: Session, lines: Sequence[Decision]) -> dict[str, Decision]:
    """Action of an undo -> the first line of what it is finally about, through undos of undos."""
    pointed = {line.action: line.undoes for line in lines if line.undoes is not None}
    found: dict[str, Decision] = {}
    while pointed:
        firsts = queries.get_first_lines(session, sorted(set(pointed.values())))
        onward: dict[str, str] = {}
        for action, target in pointed.items():
            line = firsts[target]
            if line.undoes is None:
                found[action] = line
            else:
                onward[action] = line.undoes
        pointed = onward
    return found


def _tally(session: Session, counts: dict[str, int]) -> dict[str, list[tuple[str, int | None, int]]]:
    actions = [action for action, lines in counts.items() if 1 < lines <= _TALLY_UP_TO]
    found: dict[str, list[tuple[str, int | None, int]]] = defaultdict(list)
    for action, kind, class_id, lines in queries.tally_lines(session, actions) if actions else []:
        found[action].append((kind, class_id, lines))
    return found


def _number(line: Decision, name: str) -> int:
    """A number in the line's detail, 0 where there is none."""
    return int((line.detail or {}).get(name) or 0)


def may_undo(entry: Entry, user: User) -> bool:
    """Reviewers take back what they did themselves, and bring back what they took back; leads what anybody did."""
    if entry.line.kind in ("import", "undo", "freeze", "unfreeze"):
        return False
    is_own = user.id == entry.line.user_id and (entry.undone_by is None or entry.undone_by.user_id == user.id)
    return user.may("lead") or (user.may("reviewer") and is_own)


def _explain_refusal(entry: Entry, user: User) -> str:
    if entry.undone_by is not None and entry.line.user_id == user.id:
        return "Somebody else took this back; ask a lead to bring it back."
    return "You can take back what you decided yourself; for others' decisions ask a lead."


def undo_action(session: Session, dataset: Dataset, *, user: User, action: str) -> Entry:
    """Take one action back, or bring it back when it was undone; returns its entry as it stands now."""
    lines = log.get_action(session, action)
    if not lines or lines[0].dataset_id != dataset.id:
        raise NotFound("There is no such decision in this data set.")
    entry = describe(session, dataset, lines[-1:])[0]
    if not may_undo(entry, user):
        raise Forbidden(_explain_refusal(entry, user))
    target = entry.undone_by.action if entry.undone_by else action
    decisions.undo(session, dataset=dataset, user=user, action=target)
    return describe(session, dataset, lines[-1:])[0]


_WORDS = {
    "exclude": "excluded",
    "restore": "restored",
    "comment": "a comment",
    "votes": "votes carried over",
    "duplicates": "a verdict on duplicates",
    "class_add": "a new class",
    "class_edit": "a change of a class",
    "class_merge": "a merge of classes",
    "class_retire": "a class retired",
    "class_restore": "a class restored",
    "undo": "an undo",
    "import": "an import",
    "freeze": "a split frozen",
    "unfreeze": "a split unfrozen",
    "gold": "a gold image",
    "keep": "a label kept from the posterior",
}


def phrase(entry: Entry) -> str:
    """What the action did, in a few words: “fear → sad”, “sad confirmed”, “40 images”, “3 groups of copies”."""
    if entry.groups:
        return f"{entry.groups:,} {'group' if entry.groups == 1 else 'groups'} of copies"
    if entry.lines > 1:
        return f"{entry.lines:,} images"
    before, after = entry.before, entry.after
    match entry.line.kind:
        case "confirm" if after:
            return f"{_name(after.label)} confirmed"
        case "relabel" if before and after:
            return f"{_name(before.label)} → {_name(after.label)}"
        case "ambiguous" if after:
            return " or ".join(cls.name for cls in after.ambiguous)
        case "split" if after:
            return f"split {after.split or 'none'}"
        case "consensus" if after:
            return f"{_name(after.label)} by consensus"
        case "opinion":
            return f"opinion: {_phrase_opinion(entry)}" if entry.is_among_several else _phrase_opinion(entry)
        case kind:
            return _WORDS.get(kind, kind)


def _phrase_opinion(entry: Entry) -> str:
    verdict = (entry.line.detail or {})["verdict"]
    if verdict == "ambiguous":
        return " or ".join(cls.name for cls in entry.picked)
    return "excluded" if verdict == "exclude" else _name(entry.cls)


def _name(cls: Class | None) -> str:
    return cls.name if cls else "no label"
