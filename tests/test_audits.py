"""Audits: a sample drawn blind, read from the log, told the same again at every version."""

from collections.abc import Callable

import numpy as np
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.commands import Answer, call
from tests.conftest import make_pets
from workbench.config import Home
from workbench.db import Database
from workbench.errors import Invalid, NotFound
from workbench.models import Audit, Class, Dataset, Image, Queue, QueueItem, User
from workbench.queries import audits as queries
from workbench.queries import decisions as log
from workbench.services import audits, decisions, opinions, users
from workbench.services.audit_figures import Figures, work_out
from workbench.services.decisions import Line


def _images(session: Session, audit: Audit) -> list[Image]:
    query = select(Image).join(QueueItem, QueueItem.image_id == Image.id).where(QueueItem.queue_id == audit.queue_id)
    return list(session.scalars(query.order_by(QueueItem.position)))


def _open(session: Session, dataset: Dataset, user: User, **asked: object) -> Audit:
    return audits.open_audit(session, audits.plan_audit(session, dataset, **asked), user=user)  # type: ignore[arg-type] - as given


def _other(image: Image) -> int:
    """Another class of make_pets."""
    first = (image.dataset_id - 1) * 3
    return first + 1 + (image.label_id or 0) % 3


def _decide(session: Session, image: Image, user: User, *, wrong: bool, queue_id: int | None = None) -> str:
    if wrong:
        return decisions.decide(
            session, image=image, user=user, verdict="relabel", class_id=_other(image), queue_id=queue_id
        )
    return decisions.decide(session, image=image, user=user, verdict="confirm", queue_id=queue_id)


def _read(session: Session, dataset: Dataset, audit: Audit, decision_id: int | None = None) -> Figures:
    return work_out(audits.read(session, dataset, audit, decision_id=decision_id))


@pytest.fixture
def zoo(session: Session) -> Dataset:
    """Sixty images, a third of each class."""
    return make_pets(session, per_class=20, name="zoo")


def test_a_sample_is_a_blind_queue_and_waits(session: Session, zoo: Dataset, bob: User) -> None:
    audit = _open(session, zoo, bob, size=24)

    queue = session.get_one(Queue, audit.queue_id)
    figures = _read(session, zoo, audit)
    assert (queue.recipe, queue.title, queue.blind, queue.size, queue.done) == ("audit", "Audit 1", True, 24, 0)
    assert (figures.size, figures.missing, figures.rate, figures.images) == (24, 24, None, 60)
    assert len({image.id for image in _images(session, audit)}) == 24
    assert len({image.label_id for image in _images(session, audit)}) == 3


def test_verdicts_give_the_rate_and_everything_else(session: Session, zoo: Dataset, bob: User) -> None:
    audit = _open(session, zoo, bob, size=30)
    for number, image in enumerate(_images(session, audit)):
        _decide(session, image, bob, wrong=number < 6, queue_id=audit.queue_id)

    figures = _read(session, zoo, audit)

    assert (figures.wrong, figures.answered, figures.is_complete, figures.elsewhere) == (6, 30, True, 0)
    assert figures.kinds == {"confirmed": 24, "relabelled": 6, "excluded": 0, "ambiguous": 0}
    assert figures.rate is not None
    assert figures.rate.low < 0.2 < figures.rate.high
    assert figures.rate.rate == pytest.approx(0.2)  # ten of each class and split stand for as many
    assert [part.name for part in figures.classes] == ["cat", "dog", "owl"]
    assert [(part.name, part.images) for part in figures.splits] == [("train", 30), ("test", 30)]
    assert sum(n for _, _, n in figures.corrections) == 6
    left = audits.count_remaining(session, zoo, figures)
    assert left is not None
    assert (left.corrected, left.count) == (6, figures.rate.count - 6)


def test_what_counts_as_wrong(session: Session, zoo: Dataset, bob: User) -> None:
    audit = _open(session, zoo, bob, size=60)
    first, second, third, *rest = _images(session, audit)
    label = first.label_id or 0
    others = [class_id for class_id in (1, 2, 3) if class_id != label]
    decisions.decide(session, image=first, user=bob, verdict="ambiguous", class_ids=others)  # none of them is given
    decisions.decide(
        session, image=second, user=bob, verdict="ambiguous", class_ids=[second.label_id or 0, _other(second)]
    )
    decisions.decide(session, image=third, user=bob, verdict="exclude")
    for image in rest:
        _decide(session, image, bob, wrong=False)

    figures = _read(session, zoo, audit)

    assert (figures.wrong, figures.kinds["ambiguous"], figures.kinds["excluded"]) == (2, 2, 1)
    assert figures.elsewhere == 60  # none of it was said in the audit's queue
    assert figures.rate is not None
    assert (figures.rate.rate, figures.rate.low, figures.rate.high) == (2 / 60, 2 / 60, 2 / 60)  # all were looked at


def test_a_complete_audit_says_the_same_whatever_is_decided_later(session: Session, zoo: Dataset, bob: User) -> None:
    audit = _open(session, zoo, bob, size=24)
    images = _images(session, audit)
    for number, image in enumerate(images):
        _decide(session, image, bob, wrong=number % 4 == 0)
    before = _read(session, zoo, audit)
    for image in images[:10]:
        session.refresh(image)
        _decide(session, image, bob, wrong=True)

    assert _read(session, zoo, audit) == before
    now = _read(session, zoo, audit, log.get_last_id(session, dataset_id=zoo.id))
    assert now.wrong > before.wrong
    assert _read(session, zoo, audit, before.verdict_version) == before
    assert [figures for _, figures in audits.list_figures(session, zoo)] == [before]


def test_an_undone_verdict_is_missing_again(session: Session, zoo: Dataset, bob: User) -> None:
    audit = _open(session, zoo, bob, size=24)
    actions = [_decide(session, image, bob, wrong=False) for image in _images(session, audit)]
    assert audits.list_figures(session, zoo)[0][1].missing == 0

    decisions.undo(session, dataset=zoo, user=bob, action=actions[3])

    (found,) = audits.list_figures(session, zoo)
    assert found[1].missing == 1


def test_a_class_renamed_meanwhile_shows_its_new_name(session: Session, zoo: Dataset, bob: User) -> None:
    audit = _open(session, zoo, bob, size=24)
    for image in _images(session, audit)[:21]:
        _decide(session, image, bob, wrong=False)
    assert "cat" in [part.name for part in audits.list_figures(session, zoo)[0][1].classes]

    cat = session.scalars(select(Class).where(Class.dataset_id == zoo.id, Class.name == "cat")).one()
    line = Line("class_edit", class_id=cat.id, detail={"name": "tiger"})
    decisions.submit(session, dataset=zoo, user=users.ensure_admin(session), lines=[line])

    (found,) = audits.list_figures(session, zoo)
    assert "tiger" in [part.name for part in found[1].classes]


def test_two_opinions_settle_an_image_and_tell_the_agreement(
    session: Session, zoo: Dataset, alice: User, bob: User
) -> None:
    audit = _open(session, zoo, alice, size=20, opinions=2)
    items = list(session.scalars(select(QueueItem).where(QueueItem.queue_id == audit.queue_id)))
    for number, item in enumerate(items):
        image = session.get_one(Image, item.image_id)
        for user in (alice, bob):
            differs = number == 0 and user is bob
            class_id = _other(image) if differs else image.label_id
            opinions.say(session, item=item, user=user, verdict="relabel", class_id=class_id)

    figures = _read(session, zoo, audit)

    assert (figures.answered, figures.missing, figures.wrong) == (19, 1, 0)
    assert figures.agreement is not None
    assert figures.agreement.value == pytest.approx(19 / 20)


def test_p_wrong_draws_more_of_what_is_doubtful_but_not_where_a_split_is_frozen(
    session: Session,
) -> None:
    zoo = make_pets(session, per_class=80, name="zoo")
    zoo.promoted_run_id = 1
    images = list(session.scalars(select(Image).where(Image.dataset_id == zoo.id)))
    for number, image in enumerate(images):
        image.p_wrong, image.predicted_id, image.confidence = (0.5 if number % 5 == 0 else 0.01), image.label_id, 0.9
    session.flush()

    def doubtful(frozen: str | None, split: str) -> float:
        zoo.frozen_split = frozen
        plans = [audits.plan_audit(session, zoo, size=80, seed=seed) for seed in range(5)]
        drawn = [row for plan in plans for row in plan.rows]
        by_id = {image.id: image for image in images}
        own = [row for row in drawn if by_id[row[0]].split == split]
        return float(np.mean([row[3].p_wrong == 0.5 for row in own]))

    assert doubtful(None, "test") > 0.3
    assert doubtful("test", "test") < 0.27
    assert doubtful("test", "train") > 0.3


def test_refused_wishes(session: Session, zoo: Dataset, bob: User) -> None:
    for asked in ({"size": 3}, {"margin": 5.0}, {"opinions": 9}):
        with pytest.raises(Invalid):
            audits.plan_audit(session, zoo, **asked)  # type: ignore[arg-type] - one of each kind
    audit = _open(session, zoo, bob, size=20)
    with pytest.raises(NotFound, match="name one of these"):
        audits.read(session, zoo, audit, decision_id=10**6)
    with pytest.raises(NotFound):
        queries.get_audit(session, zoo.id + 1, audit.id)


def test_a_margin_asks_for_what_it_takes(session: Session, zoo: Dataset) -> None:
    wide, narrow = (audits.plan_audit(session, zoo, margin=margin) for margin in (0.2, 0.02))
    assert 20 <= len(wide.rows) < len(narrow.rows) <= 60
    assert wide.expected_margin <= 0.2


Run = Callable[..., Answer]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, home: Home) -> Run:
    return lambda *arguments: call(capsys, monkeypatch, *arguments, "--home", home.root)


def test_the_command_draws_then_tells(run: Run, database: Database) -> None:
    with database.write() as session:
        dataset = make_pets(session, per_class=20, name="zoo")
        user = users.ensure_user(session, "bob", role="reviewer")

    drawn = run("audit", "--dataset", "zoo", "--size", "24", "--json").document
    assert {key: drawn[key] for key in ("audit", "sample", "missing", "wrong", "rate", "low", "estimated_errors")} == {
        "audit": 1, "sample": 24, "missing": 24, "wrong": 0, "rate": None, "low": None, "estimated_errors": None,
    }  # fmt: skip
    assert "24 of 24 verdicts are missing" in run("audit", "--dataset", "zoo").out

    with database.write() as session:
        audit = queries.get_audit(session, dataset.id, 1)
        for number, image in enumerate(_images(session, audit)):
            _decide(session, image, user, wrong=number < 6)
    told = run("audit", "--dataset", "zoo", "--json").document
    assert (told["sample"], told["missing"], told["wrong"], told["images"]) == (24, 0, 6, 60)
    assert told["low"] < told["rate"] < told["high"]
    assert told["estimated_errors"] == round(told["rate"] * 60)
    assert told["left"] == max(0, told["estimated_errors"] - 6)
    assert "labels are wrong" in run("audit", "--dataset", "zoo").out

    again = run("audit", "--dataset", "zoo", "--new", "--size", "20", "--json").document
    assert (again["audit"], again["missing"]) == (2, 20)
    assert run("audit", "--dataset", "zoo", "--audit", "1", "--json").document == told
    assert run("audit", "--dataset", "zoo", "--new", "--audit", "1").status == 1
    for seed in ("-1", str(2**63)):
        assert run("audit", "--dataset", "zoo", "--new", "--seed", seed).status == 2
