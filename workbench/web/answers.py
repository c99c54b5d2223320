"""What the card's script sends: answers in a batch, and what it gets back: the next cards, already held.

The protocol is written down in docs/answers.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, jsonify, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from workbench.db import Savepoint
from workbench.errors import Conflict, Invalid, WorkbenchError
from workbench.models import Dataset, Image, Queue, QueueItem, utc_now
from workbench.queries import queues as queries
from workbench.services import cards, history, leases
from workbench.web import card_pages
from workbench.web.accounts import me, needs
from workbench.web.boundary import begin_reading, db
from workbench.web.card_pages import Told
from workbench.web.loaders import load_dataset, load_queue

blueprint = Blueprint("answers", __name__)
_MOST_CARDS = 20  # held by one browser ahead
_MOST_HELD = 100  # items on one reviewer's screen and behind it
_MOST_ANSWERS = 200  # in one request
_LONGEST_LOOK_S = 3600.0


@dataclass(frozen=True)
class Sent:
    """One answer as the script sends it. kind: decide, skip or comment."""

    item: int
    kind: str
    answer: cards.Answer
    text: str = ""

    @property
    def action(self) -> str:
        return self.answer.action or ""


@dataclass(frozen=True)
class Message:
    """What a page sends at once: see docs/answers.md."""

    answers: list[Sent]
    holding: list[int]
    want: int
    release: list[int]
    user: int | None


@dataclass(frozen=True)
class Result:
    """What became of an answer. status: saved, conflict or refused, the latter two with a sentence."""

    sent: Sent
    status: str
    sentence: str = ""
    told: Told | None = None  # what the strip says of it, where that is at hand
    position: int = -1  # of its item in the queue


@blueprint.post("/d/<name>/queues/<int:queue_id>/answers")
@needs("reviewer")
def send(name: str, queue_id: int) -> ResponseReturnValue:
    """Take the answers one after the other, each whole or not at all; hold the next items; then show them."""
    dataset = load_dataset(name)
    queue = load_queue(queue_id, dataset)
    message = _read_message()
    if message.user not in (None, me().id):  # a browser keeps unsent answers while somebody else logs in on it
        raise Conflict("These answers are another person's. They are kept until that person logs in again.")
    results = [_take(queue, each) for each in message.answers]
    for item_id in message.release:
        _give_back(queue, item_id)
    held = _hold(queue, message, after=results[-1].position if results else -1)
    begin_reading()
    return jsonify(_show(dataset, queue, results, held, is_empty=not message.holding))


def _read_message() -> Message:
    """Raises Invalid for anything that is none."""
    try:
        body = request.get_json(silent=True)
    except RecursionError:
        body = None
    if not isinstance(body, dict):
        raise Invalid("Send a JSON object with answers, holding and want.")
    answers, want = body.get("answers", []), body.get("want", 0)
    if not isinstance(answers, list) or len(answers) > _MOST_ANSWERS:
        raise Invalid(f"answers is a list of at most {_MOST_ANSWERS}.")
    if not _is_id(want) or want > _MOST_CARDS:
        raise Invalid(f"want is a number of cards, 0 to {_MOST_CARDS}.")
    return Message(
        answers=[_read_answer(each) for each in answers],
        holding=_read_items(body, "holding"),
        want=want,
        release=_read_items(body, "release"),
        user=body.get("user"),
    )


def _read_items(body: Mapping[str, Any], name: str) -> list[int]:
    found = body.get(name, [])
    if not isinstance(found, list) or not all(_is_id(each) for each in found) or len(found) > _MOST_HELD:
        raise Invalid(f"{name} is a list of at most {_MOST_HELD} item ids.")
    return found


def _is_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _read_answer(found: object) -> Sent:
    if not isinstance(found, dict) or not _is_id(found.get("item")):
        raise Invalid("Each answer names its item by number.")
    action, class_ids, seconds = found.get("action"), found.get("class_ids") or [], found.get("seconds")
    if not isinstance(action, str) or not 16 <= len(action) <= 64 or not action.isalnum():
        raise Invalid("Each answer carries an action: 16 to 64 letters and digits of its own, so that it counts once.")
    if not isinstance(class_ids, list) or not all(_is_id(each) for each in class_ids):
        raise Invalid("class_ids is a list of class ids.")
    looked = float(seconds) if isinstance(seconds, int | float) and 0 <= seconds <= _LONGEST_LOOK_S else None
    class_id, verdict = _number(found, "class_id"), str(found.get("verdict") or "")
    answer = cards.Answer(
        verdict=verdict or ("relabel" if class_id else ""),
        class_id=class_id,
        class_ids=class_ids,
        revision=_number(found, "revision"),
        action=action,
        forced=_words(found, "forced"),
        seconds=looked,
    )
    return Sent(found["item"], str(found.get("kind") or "decide"), answer, _words(found, "text")[:2000])


def _words(found: Mapping[str, Any], name: str) -> str:
    """Half a character, which JSON can carry and nothing else can, becomes a question mark."""
    return str(found.get(name) or "").encode("utf-8", "replace").decode()


def _number(found: Mapping[str, Any], name: str) -> int | None:
    value = found.get(name)
    if value is not None and not _is_id(value):
        raise Invalid(f"{name} is a whole number.")
    return value


def _take(queue: Queue, sent: Sent) -> Result:
    """Inside a savepoint: what cannot be taken leaves nothing behind and does not hold up the others."""
    item = queries.find_item(db(), queue.id, sent.item)
    if item is None:
        return Result(sent, "refused", "This image is no longer in the queue; it was rebuilt, or its split was frozen.")
    position = item.position
    savepoint = Savepoint(db())
    try:
        told = _carry_out(db(), item, sent)
    except WorkbenchError as error:
        savepoint.undo()
        return Result(sent, "conflict" if isinstance(error, Conflict) else "refused", str(error), position=position)
    savepoint.keep()
    return Result(sent, "saved", told=told, position=position)


def _carry_out(session: Session, item: QueueItem, sent: Sent) -> Told | None:
    if item.group_id is not None:
        raise Invalid("Copies are settled on the page of their group.")
    if sent.kind == "decide":
        image = session.get_one(Image, item.image_id)
        told = _foretell(item, image, sent.answer)
        return told if cards.decide(session, item=item, user=me(), answer=sent.answer) else None
    if sent.kind == "comment":
        cards.say_comment(session, item=item, user=me(), text=sent.text, action=sent.action)
    elif sent.kind == "skip":
        leases.give_back(session, item=item, user=me())
    else:
        raise Invalid(f"“{sent.kind}” is not a kind of answer; use decide, skip or comment.")
    return None


def _foretell(item: QueueItem, image: Image, answer: cards.Answer) -> Told:
    """What the strip will say of an answer once it is saved, from what is known before."""
    before_id = None if item.asks_opinions else image.label_id  # what others said stays hidden
    kind, class_id = answer.verdict, before_id if answer.verdict == "confirm" else answer.class_id
    if kind == "relabel" and (item.asks_opinions or (class_id == before_id and image.status == "active")):
        kind = "confirm"
    face = history.Face(image.id, image.width, image.pixel_sha256)
    return Told(kind, item.queue_id, face, before_id, class_id, tuple(answer.class_ids))


def _give_back(queue: Queue, item_id: int) -> None:
    """What a page held that is being left; another page of the same person keeps what it holds."""
    item = queries.find_item(db(), queue.id, item_id)
    if item is not None:
        leases.give_back(db(), item=item, user=me())


def _hold(queue: Queue, message: Message, *, after: int) -> leases.Held:
    if queue.closed_at is not None:
        return leases.Held([], message.holding)
    return leases.hold(
        db(), queue=queue, user=me(), now=utc_now(), holding=message.holding, want=message.want, after=after
    )


def _show(
    dataset: Dataset, queue: Queue, results: Sequence[Result], held: leases.Held, *, is_empty: bool
) -> dict[str, Any]:
    """The answer's document, from what is committed."""
    desk = card_pages.Desk(dataset, queue)
    is_over = is_empty and not held.fresh and all(result.status == "saved" for result in results)
    return {
        "results": _show_results(desk, results),
        "cards": [
            {
                "item": item.id,
                "html": desk.render(item),
                "url": url_for("review.item", name=dataset.name, queue_id=queue.id, item_id=item.id),
            }
            for item in held.fresh
        ],
        "lost": held.lost,
        "progress": desk.render_progress(),
        "done": desk.progress.done,
        "size": desk.progress.size,
        "ending": desk.render(None) if is_over else "",
    }


def _show_results(desk: card_pages.Desk, results: Sequence[Result]) -> list[dict[str, Any]]:
    saved = [result for result in results if result.status == "saved" and result.sent.kind != "skip"]
    lines = desk.render_recent({result.sent.action: result.told for result in saved}) if saved else {}
    return [
        {
            "action": result.sent.action,
            "item": result.sent.item,
            "status": result.status,
            "sentence": result.sentence,
            "recent": lines.get(result.sent.action, ""),
            "card": "" if result.status == "saved" else _show_again(desk, result),
        }
        for result in results
    ]


def _show_again(desk: card_pages.Desk, result: Result) -> str:
    """The card as it stands now, with why the answer was not taken."""
    item = queries.find_item(db(), desk.queue.id, result.sent.item)
    if item is None:
        return ""
    if result.status == "conflict":
        return desk.render(item, conflict=result.sentence)
    return desk.render(item, problem=result.sentence)
