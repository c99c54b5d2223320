"""Disputed images: who said what of them, what else is known, and asking one reviewer more."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from workbench.config import Home
from workbench.errors import Conflict, Invalid
from workbench.models import Class, Dataset, Image, Opinion, Queue, QueueItem, User
from workbench.models.states import merge_roots, read_statement
from workbench.queries import agreement as queries
from workbench.queries import datasets
from workbench.queries import review as review_queries
from workbench.queries.review import Picture
from workbench.services import activities, cards, consensus, decisions, predictions, reviewers
from workbench.services.agreement_figures import Figure
from workbench.services.cards import Guess, Neighbour

PER_PAGE = 40
_NEIGHBOURS = 6


@dataclass(frozen=True)
class Statement:
    """What one person says that an image is; `gold` is how often they are right where leads know."""

    user: User
    verdict: str
    cls: Class | None
    ambiguous: tuple[Class, ...]
    at: datetime
    queue_id: int | None  # where it was asked blind
    comment: str = ""
    comment_queue_id: int | None = None
    gold: Figure | None = None
    quality: float | None = None

    @property
    def blind(self) -> bool:
        return self.queue_id is not None

    @property
    def key(self) -> str:
        """Equal for those who say the same."""
        return str(self.cls.id) if self.cls else self.verdict


@dataclass(frozen=True)
class Dispute:
    """An image of the list with what was said of it, oldest first."""

    image: Image
    statements: list[Statement]
    hidden: int  # further ones, that whoever asks may not see yet


@dataclass(frozen=True)
class Case:
    """One disputed image with everything that helps to settle it."""

    image: Image
    statements: list[Statement]
    hidden: int
    classes: list[Class]  # those that may be chosen
    label: Class | None
    majority: Class | None  # what most say; none for a tie, or where that is no open class
    consensus: tuple[Class, float] | None  # by reviewer quality, with its P
    votes: list[tuple[str, Class | None, int]]
    guesses: list[Guess]
    neighbours: list[Neighbour]
    copies: list[tuple[Picture, Class | None]]
    asking: list[QueueItem]  # open items of queues that ask several about it
    place: int  # among the disputed images, from 1
    total: int
    previous_id: int | None
    next_id: int | None
    action: str = field(default_factory=decisions.new_action)

    @property
    def awaits(self) -> int:
        """How many further opinions were asked for and have not come."""
        return sum(max(item.wants - item.opinions, 0) for item in self.asking)


def list_disputes(
    session: Session, dataset: Dataset, *, viewer: User, after: int = 0, limit: int = PER_PAGE
) -> list[Dispute]:
    """A constant number of statements, whatever the number of images."""
    images = queries.list_disputed(session, dataset.id, after=after, limit=limit)
    classes = datasets.list_classes(session, dataset.id)
    said = read_statements(session, classes, [image.id for image in images])
    sealed = _list_sealed(session, viewer, said)
    return [
        Dispute(image, *_show(said.get(image.id, []), viewer=viewer, sealed=sealed)) for image in images
    ]  # fmt: skip


def read_statements(session: Session, classes: Sequence[Class], image_ids: Sequence[int]) -> dict[int, list[Statement]]:
    """Image id -> what each person said last that counts, with their newest comment, in the order of speaking."""
    roots, by_id = merge_roots(classes), {cls.id: cls for cls in classes}
    comments = {
        (line.image_id, line.user_id): (str((line.detail or {})["text"]), line.queue_id)
        for line in queries.list_lines_on(session, image_ids)
        if line.kind == "comment"
    }
    newest = {(line.image_id, line.user_id): line for line in consensus.list_standing(session, image_ids)}
    users = queries.get_users(session, {user_id for _, user_id in newest})
    found: dict[int, list[Statement]] = defaultdict(list)
    for (image_id, user_id), line in sorted(newest.items(), key=lambda one: one[1].id):
        comment, comment_queue_id = comments.get((image_id, user_id), ("", None))
        verdict, class_id = consensus.read_line(line)
        found[image_id].append(
            Statement(
                user=users[user_id],
                verdict=verdict,
                cls=by_id.get(roots.get(class_id or 0, 0)),
                ambiguous=tuple(by_id[one] for one in (line.detail or {}).get("classes", ()) if one in by_id),
                at=line.at,
                queue_id=line.queue_id if line.kind == "opinion" else None,
                comment=comment,
                comment_queue_id=comment_queue_id,
            )
        )
    return found


def _list_sealed(session: Session, viewer: User, said: Mapping[int, Sequence[Statement]]) -> set[int]:
    """The open queues whose opinions and comments only leads see: who is still asked must not know what others said."""
    if viewer.may("lead"):
        return set()
    every = [one for each in said.values() for one in each]
    asked = {found for one in every for found in (one.queue_id, one.comment_queue_id) if found is not None}
    return queries.list_open_blind(session, asked)


def _show(statements: Sequence[Statement], *, viewer: User, sealed: set[int]) -> tuple[list[Statement], int]:
    """What the viewer may see, and how many statements they may not."""
    shown = [one for one in statements if one.queue_id not in sealed or one.user.id == viewer.id]
    hidden = len(statements) - len(shown)
    return [
        replace(one, comment="") if one.comment_queue_id in sealed and one.user.id != viewer.id else one
        for one in shown
    ], hidden


def make_case(session: Session, home: Home, dataset: Dataset, image: Image, *, viewer: User) -> Case:
    """As far as the viewer may see; how far the others are to be trusted is for leads."""
    classes = datasets.list_classes(session, dataset.id)
    by_id = {cls.id: cls for cls in classes}
    said = cards.find_predictions(home, dataset.promoted_run_id)
    near = predictions.nearest(said, image.id, _NEIGHBOURS) if said else []
    pictures = review_queries.get_pictures(session, [found for found, _ in near])
    result = consensus.load_result(session, home, dataset) if viewer.may("lead") else None
    every = read_statements(session, classes, [image.id])
    sealed = _list_sealed(session, viewer, every)
    statements, hidden = _show(every.get(image.id, []), viewer=viewer, sealed=sealed)
    if viewer.may("lead"):
        statements = _judge(session, dataset, statements, result)
    total = queries.count_disputed(session, dataset.id)
    return Case(
        image=image,
        statements=statements,
        hidden=hidden,
        classes=[cls for cls in classes if cls.is_open],
        label=by_id.get(image.label_id or 0),
        majority=find_majority(statements) if not hidden else None,
        consensus=_find_consensus(result, image, by_id),
        votes=[
            (option, by_id.get(class_id or 0), count)
            for option, class_id, count in review_queries.list_votes(session, image.id)
        ],
        guesses=cards.guess(said, image.id, by_id),
        neighbours=[
            Neighbour(pictures[found], by_id.get(pictures[found].label_id or 0), similarity)
            for found, similarity in near
            if found in pictures
        ],
        copies=[(copy, by_id.get(copy.label_id or 0)) for copy in review_queries.list_copies(session, image)],
        asking=queries.list_asking_items(session, [image.id]),
        place=queries.count_disputed_before(session, image) + 1,
        total=total,
        previous_id=queries.get_disputed_neighbour(session, image, step=-1),
        next_id=queries.get_disputed_neighbour(session, image, step=1),
    )


def _judge(
    session: Session, dataset: Dataset, statements: Sequence[Statement], result: consensus.Result | None
) -> list[Statement]:
    """The statements with how far each of their authors is to be trusted."""
    gold = reviewers.measure_gold(session, dataset)
    return [
        replace(one, gold=gold.get(one.user.id), quality=result.quality_of(one.user.id) if result else None)
        for one in statements
    ]


def find_majority(statements: Sequence[Statement]) -> Class | None:
    """The class that more people say than anything else, if it may be chosen."""
    counts: dict[str, list[Statement]] = defaultdict(list)
    for one in statements:
        counts[one.key].append(one)
    ranked = sorted(counts.values(), key=len, reverse=True)
    if not ranked or (len(ranked) > 1 and len(ranked[0]) == len(ranked[1])):
        return None
    cls = ranked[0][0].cls
    return cls if cls is not None and cls.is_open else None


def _find_consensus(
    result: consensus.Result | None, image: Image, by_id: dict[int, Class]
) -> tuple[Class, float] | None:
    found = result.find(image.id) if result else None
    if found is None or not found[0].isdigit():
        return None
    cls = by_id.get(int(found[0]))
    return (cls, found[1]) if cls is not None and cls.is_open else None


# --- asking one more ----------------------------------------------------------------------------------------------


def ask_another(session: Session, *, dataset: Dataset, image: Image, user: User) -> None:
    """Have one reviewer more say what it is: the queue that asked several asks for one opinion more."""
    items = queries.list_asking_items(session, [image.id])
    if not items:
        raise Invalid("No open queue asks several people about this image; build one that does, or settle it here.")
    if any(item.wants > item.opinions for item in items):
        raise Conflict("Another opinion was asked for already and has not come yet.")
    items[-1].wants += 1
    _note(session, dataset=dataset, image=image, user=user, item=items[-1], kind="opinion_asked")


def take_back_asking(session: Session, *, dataset: Dataset, image: Image, user: User) -> None:
    """As long as nobody has answered and the others still differ; a queue never asks fewer than it was opened for."""
    items = [
        item
        for item in queries.list_asking_items(session, [image.id])
        if item.wants > max(item.opinions, session.get_one(Queue, item.queue_id).opinions)
    ]
    if not items:
        raise Conflict("The opinion that was asked for has come meanwhile, or was never asked for.")
    if not image.disputed or not _differ(queries.list_opinions_of(session, items[-1])):
        raise Conflict(
            "The opinions do not differ any more, so nothing but the further one would settle this image; "
            "let it come, or settle the image here."
        )
    items[-1].wants -= 1
    _note(session, dataset=dataset, image=image, user=user, item=items[-1], kind="opinion_unasked")


def _differ(opinions: Sequence[Opinion]) -> bool:
    return len({read_statement(one.verdict, one.class_id, one.classes or ()) for one in opinions}) > 1


def _note(session: Session, *, dataset: Dataset, image: Image, user: User, item: QueueItem, kind: str) -> None:
    session.flush()
    detail: dict[str, Any] = {"image": image.id, "path": image.path, "queue": item.queue_id, "wants": item.wants}
    activities.record(session, user=user, kind=kind, dataset=dataset, **detail)
