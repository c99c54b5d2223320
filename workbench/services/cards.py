"""The review card: what it shows about one queue item, and what its answers do."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from sqlalchemy.orm import Session

from workbench.config import Home
from workbench.errors import Conflict, Invalid, NotFound
from workbench.models import FINDINGS, VERDICTS, Class, Dataset, Decision, Image, Queue, QueueItem, User
from workbench.models.states import merge_roots
from workbench.queries import decisions as log
from workbench.queries import queues
from workbench.queries import review as queries
from workbench.queries.findings import list_of_image
from workbench.queries.queues import QueueRow
from workbench.queries.review import Picture
from workbench.services import decisions, history, leases, opinions, predictions
from workbench.services.beliefs import Belief, find_belief
from workbench.services.history import Entry
from workbench.services.predictions import Predictions

_GUESSES = 3
_NEIGHBOURS = 6
_EXAMPLES = 5
_AT_FIRST = 2 * _EXAMPLES  # each is a look at a page of the database; nearly always these suffice


@dataclass(frozen=True)
class Guess:
    """What the model says about one class."""

    cls: Class
    p: float


@dataclass(frozen=True)
class Neighbour:
    picture: Picture
    label: Class | None
    similarity: float


@dataclass(frozen=True)
class Card:
    """Everything about one queue item that a reviewer sees before deciding."""

    item: QueueItem
    image: Image
    classes: list[Class]  # those that may be chosen
    label: Class | None
    ambiguous: list[Class]
    suggested: Class | None
    p_wrong: float | None
    votes: list[tuple[str, Class | None, int]]  # option, its class, raters
    guesses: list[Guess]
    belief: Belief | None  # the posterior, until somebody has decided
    ranked: list[Class]  # those that may be chosen, the likeliest first; empty where no model says anything
    neighbours: list[Neighbour]
    examples: list[tuple[Class, list[Picture]]]
    copies: list[tuple[Picture, Class | None]]
    findings: list[tuple[str, str]]  # what scans say: in a word, and why
    log: list[Entry]
    previous_id: int | None
    action: str = field(default_factory=decisions.new_action)

    @property
    def revision(self) -> int:
        """What an answer rests on; where several are asked it rests on nothing that others said."""
        return 0 if self.item.asks_opinions else self.image.revision

    @property
    def is_out(self) -> bool:
        """Whether it is excluded, as far as whoever answers may know."""
        return self.image.status == "excluded" and not self.item.asks_opinions

    @property
    def can_confirm(self) -> bool:
        return self.label is not None and self.label.is_open and self.image.status == "active"

    @property
    def can_accept(self) -> bool:
        """Whether the suggestion says something that the label does not."""
        return self.suggested is not None and (self.suggested is not self.label or self.image.status != "active")


def make_card(
    session: Session, home: Home, dataset: Dataset, classes: Sequence[Class], *, queue: Queue, item: QueueItem
) -> Card:
    """A constant number of statements. classes: all of the data set."""
    image, previous_id, has_lines = queries.get_shown(session, item)
    by_id = {cls.id: cls for cls in classes}
    said = find_predictions(home, queue.run_id or dataset.promoted_run_id)
    suggested = _open_root(item.suggested_id, classes)
    label = by_id.get(image.label_id or 0)
    compared = [cls for cls in (label, suggested) if cls is not None]
    near = predictions.nearest(said, image.id, _NEIGHBOURS) if said else []
    typical = {cls.id: _list_typical(said, cls, but=image) for cls in compared}
    wanted = [found for found, _ in near] + [found for ids in typical.values() for found in ids[:_AT_FIRST]]
    pictures, copies = queries.get_with_copies(session, image, sorted(set(wanted)))
    return Card(
        item=item,
        image=image,
        classes=[cls for cls in classes if cls.is_open],
        label=label,
        ambiguous=[by_id[found] for found in image.ambiguous_ids or () if found in by_id],
        suggested=suggested,
        p_wrong=item.p_wrong,
        votes=[
            (option, by_id.get(class_id or 0), count)
            for option, class_id, count in queries.list_votes(session, image.id)
        ],
        guesses=guess(said, image.id, by_id),
        belief=find_belief(home, dataset.promoted_run_id, image, by_id),
        ranked=_rank(said, image.id, classes),
        neighbours=[
            Neighbour(pictures[found], by_id.get(pictures[found].label_id or 0), similarity)
            for found, similarity in near
            if found in pictures
        ],
        examples=[
            (cls, _examples(session, dataset, cls, typical[cls.id], pictures)) for cls in dict.fromkeys(compared)
        ],
        copies=[(copy, by_id.get(copy.label_id or 0)) for copy in copies],
        findings=[(FINDINGS[row.kind], row.reason) for row in list_of_image(session, image.id)],
        log=history.list_entries(session, dataset, image_id=image.id, limit=8) if has_lines else [],
        previous_id=previous_id,
    )


def find_predictions(home: Home, run_id: int | None) -> Predictions | None:
    """What the run says, none when there is no run or it has not said anything yet."""
    if run_id is None:
        return None
    try:
        return predictions.load_predictions(home, run_id)
    except NotFound:
        return None


def _open_root(class_id: int | None, classes: Sequence[Class]) -> Class | None:
    """The class itself, or what it was merged into, if reviewers may choose it."""
    if class_id is None:
        return None
    root = merge_roots(classes).get(class_id)
    return next((cls for cls in classes if cls.id == root and cls.is_open), None)


def guess(said: Predictions | None, image_id: int, by_id: dict[int, Class]) -> list[Guess]:
    row = said.find(image_id) if said else None
    if said is None or row is None:
        return []
    order = np.argsort(-said.probs[row].astype(np.float32), kind="stable")[:_GUESSES]
    found = [(by_id.get(int(said.class_ids[column])), float(said.probs[row, column])) for column in order]
    return [Guess(cls, p) for cls, p in found if cls is not None]


def _rank(said: Predictions | None, image_id: int, classes: Sequence[Class]) -> list[Class]:
    row = said.find(image_id) if said else None
    if said is None or row is None:
        return []
    p = dict(zip(said.class_ids.tolist(), said.probs[row].tolist(), strict=True))
    return sorted((cls for cls in classes if cls.is_open), key=lambda cls: -p.get(cls.id, -1.0))


def _list_typical(said: Predictions | None, cls: Class, *, but: Image) -> list[int]:
    """Many more than are needed, because labels may disagree."""
    found = predictions.list_typical(said, cls.id, most=8 * _EXAMPLES) if said else []
    return [image_id for image_id in found if image_id != but.id]


def _examples(
    session: Session, dataset: Dataset, cls: Class, typical: Sequence[int], pictures: dict[int, Picture]
) -> list[Picture]:
    """Different pictures that carry the class, the most typical first. pictures: of the first `_AT_FIRST` at least."""
    found = _choose(cls, typical, pictures)
    if len(found) < _EXAMPLES and len(typical) > _AT_FIRST:
        found = _choose(cls, typical, pictures | queries.get_pictures(session, typical[_AT_FIRST:]))
    if not found:
        oldest = queries.list_first_of_class(session, dataset_id=dataset.id, class_id=cls.id, limit=2 * _EXAMPLES)
        found = _choose(cls, [picture.id for picture in oldest], {picture.id: picture for picture in oldest})
    return found


def _choose(cls: Class, image_ids: Sequence[int], pictures: dict[int, Picture]) -> list[Picture]:
    there = [pictures[image_id] for image_id in image_ids if image_id in pictures]
    fitting = [picture for picture in there if picture.label_id == cls.id and picture.status == "active"]
    distinct = {picture.pixel_sha256: picture for picture in reversed(fitting)}
    return list(reversed(distinct.values()))[:_EXAMPLES]


@dataclass(frozen=True)
class Answer:
    """What a reviewer says to a card. revision: of the image as they saw it. action: makes it count once."""

    verdict: str
    class_id: int | None = None
    class_ids: Sequence[int] = ()
    revision: int | None = None
    action: str | None = None
    forced: str = ""
    seconds: float | None = None


def decide(session: Session, *, item: QueueItem, user: User, answer: Answer) -> bool:
    """Take a reviewer's answer; false if it was there already: sent twice it counts once.

    Sent again as another answer it is a Conflict. On an item that asks several reviewers, and on a hidden gold item, it
    is an opinion.
    """
    image = session.get_one(Image, item.image_id)
    if answer.action and log.has_action(session, answer.action):
        _check_same(log.get_action(session, answer.action)[0], image, user, answer)
        return False
    if item.asks_opinions:
        opinions.say(
            session,
            item=item,
            user=user,
            verdict=answer.verdict,
            class_id=answer.class_id,
            class_ids=answer.class_ids,
            action=answer.action,
            seconds=answer.seconds,
            forced=answer.forced,
        )
        return True
    verdict = answer.verdict
    if item.wants != 1 and answer.revision is None:
        raise Conflict("The others have settled this image meanwhile; look at it again.")
    if verdict == "confirm" and item.done_action is None and session.get_one(Queue, item.queue_id).blind:
        raise Invalid("What others said is hidden here, so there is nothing to confirm: choose a class.")
    if verdict == "relabel" and answer.class_id == image.label_id and image.status == "active":
        verdict = "confirm"
    decisions.check_revision(image, answer.revision)
    line = decisions.make_line(image, verdict=verdict, class_id=answer.class_id, class_ids=answer.class_ids)
    decisions.submit(
        session,
        dataset=session.get_one(Dataset, image.dataset_id),
        user=user,
        lines=[line],
        action=answer.action,
        queue_id=item.queue_id,
        forced=answer.forced,
        seconds=answer.seconds,
        is_new=True,
    )
    return True


def _check_same(line: Decision, image: Image, user: User, answer: Answer) -> None:
    detail = line.detail or {}
    kind = detail["verdict"] if line.kind == "opinion" else line.kind
    same = kind == answer.verdict
    if kind == "ambiguous":
        same = same and detail["classes"] == sorted(set(answer.class_ids))
    if answer.verdict == "relabel":  # the label itself, given by its class, was stored as a confirm
        same = kind in ("confirm", "relabel") and line.class_id == answer.class_id
    if line.image_id != image.id or line.user_id != user.id or not same:
        raise Conflict("Your earlier answer had arrived after all.")


def say_comment(session: Session, *, item: QueueItem, user: User, text: str, action: str | None) -> str:
    image = session.get_one(Image, item.image_id)
    lines = log.get_action(session, action) if action else []
    if lines and (lines[0].kind, lines[0].image_id, lines[0].user_id) != ("comment", image.id, user.id):
        raise Conflict("Something else was saved under that id; write the comment again.")
    return decisions.decide(
        session, image=image, user=user, verdict="comment", text=text, action=action, queue_id=item.queue_id
    )


def find_next(session: Session, *, queue: Queue, user: User, now: datetime, after: int) -> QueueItem | None:
    """Lease the next open item after a position, or else the first one before it."""
    return leases.next_item(session, queue=queue, user=user, now=now, after=after) or leases.next_item(
        session, queue=queue, user=user, now=now
    )


@dataclass(frozen=True)
class Ending:
    """What a queue found, once nothing in it waits for this reviewer."""

    outcomes: dict[str, int]
    moves: list[tuple[Class, Class, int]]
    held: int  # open items that others hold
    awaited: int  # items on which other reviewers have still to give their opinion
    disputed: int  # items whose opinions differ: they wait for a lead
    others: list[QueueRow]  # queues that wait, the one with most to find first


def make_ending(session: Session, dataset: Dataset, classes: Sequence[Class], *, queue: Queue, user: User) -> Ending:
    by_id = {cls.id: cls for cls in classes}
    moves = [(by_id.get(given or 0), by_id.get(now or 0), n) for given, now, n in queries.list_moves(session, queue)]
    waiting = [row for row in queues.list_queues(session, dataset.id) if row.open and row.queue.id != queue.id]
    waiting.sort(key=lambda row: (row.queue.expected_hits or 0) / row.queue.size, reverse=True)
    disputed, awaited = queues.count_waiting(session, queue, user_id=user.id) if queue.opinions > 1 else (0, 0)
    return Ending(
        outcomes=queries.count_outcomes(session, queue),
        moves=[(given, now, n) for given, now, n in moves if given is not None and now is not None],
        held=queue.size - queue.done - disputed - awaited,
        awaited=awaited,
        disputed=disputed,
        others=waiting[:4],
    )


def find_verdict(session: Session, dataset: Dataset, image: Image) -> Entry | None:
    """The newest verdict on the image that counts."""
    entries = history.list_entries(session, dataset, image_id=image.id, kinds=(*VERDICTS, "restore"), limit=10)
    return next((entry for entry in entries if entry.undone_by is None), None)
