"""Disputed images: settled by majority, by reviewer quality, one more asked; the log and the rows stay one."""

from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.conftest import make_pets
from tests.opinion_queues import ask_several, decide, have_said, list_images, say
from tests.trained_runs import add_run
from workbench.config import Home
from workbench.db import Database
from workbench.errors import Conflict, Frozen, Invalid
from workbench.models import Activity, Dataset, Decision, Job, QueueItem, User, utc_now
from workbench.queries import agreement as queries
from workbench.queries import queues as queue_queries
from workbench.services import adjudication, cards, checks, consensus, datasets, decisions, freezing, opinions, users
from workbench.worker import consensus as worker
from workbench.worker.context import Context


def labels(session: Session, dataset: Dataset) -> list[tuple[str, str, bool]]:
    session.expire_all()
    return [
        (image.label.name if image.label else image.status, image.label_source, image.disputed)
        for image in list_images(session, dataset)
    ]


def plan(session: Session, home: Home, dataset: Dataset, method: str = "majority", **asked: float) -> consensus.Plan:
    return consensus.plan_settling(session, home, dataset, method=method, **asked)


def test_majority_settles_what_has_one_and_one_undo_takes_it_back(
    session: Session, home: Home, pets: Dataset, alice: User
) -> None:
    queue = ask_several(session, pets, asks=3)
    have_said(session, pets, queue, {"anna": "cdcax", "ben": "cdoox", "cleo": "dcoax"})
    before = labels(session, pets)
    assert [disputed for _, _, disputed in before] == [True, True, True, True, False, False]

    made = plan(session, home, pets)
    assert (made.disputed, made.ties, made.unsure, made.others) == (4, 0, 0, 1)
    assert [(one.cls.name, round(one.p, 2), one.opinions) for one in made.settling] == [
        ("cat", 0.67, 3),
        ("dog", 0.67, 3),
        ("owl", 0.67, 3),
    ]
    action = consensus.settle(session, made, dataset=pets, user=alice, stamp=made.stamp)
    assert labels(session, pets)[:4] == [
        ("cat", "consensus", False),
        ("dog", "consensus", False),
        ("owl", "consensus", False),
        before[3],
    ]
    assert checks.check(session).ok
    line = session.scalars(select(Decision).where(Decision.action == action)).first()
    assert line is not None
    assert line.detail == {"method": "majority", "p": 0.6667, "opinions": 3}

    decisions.undo_last(session, dataset=pets, user=alice)
    assert labels(session, pets) == before
    assert checks.check(session).ok


def test_ties_stay_disputed(session: Session, home: Home, pets: Dataset) -> None:
    have_said(session, pets, ask_several(session, pets), {"anna": "cc", "ben": "cd"})
    made = plan(session, home, pets)
    assert (made.disputed, made.ties, made.settling) == (1, 1, [])


def test_contradicting_verdicts_are_settled_too(session: Session, home: Home, pets: Dataset, alice: User) -> None:
    image = list_images(session, pets)[0]
    for name, letter in (("anna", "c"), ("ben", "d"), ("cleo", "d")):
        decide(session, pets, image, name, letter)
    made = plan(session, home, pets)
    assert [(one.cls.name, one.opinions) for one in made.settling] == [("dog", 3)]
    consensus.settle(session, made, dataset=pets, user=alice, stamp=made.stamp)
    assert labels(session, pets)[0] == ("dog", "consensus", False)


def test_a_plan_that_is_old_is_refused_and_sent_twice_counts_once(
    session: Session, home: Home, pets: Dataset, alice: User
) -> None:
    have_said(session, pets, ask_several(session, pets, asks=3), {"anna": "cd", "ben": "cd", "cleo": "dc"})
    old = plan(session, home, pets)
    decide(session, pets, old.settling[0].image, "lena", "o", role="lead")
    now = plan(session, home, pets)
    with pytest.raises(Conflict, match="look at the list again"):
        consensus.settle(session, now, dataset=pets, user=alice, stamp=old.stamp)
    for _ in range(2):
        consensus.settle(session, now, dataset=pets, user=alice, stamp=now.stamp, action="once")
    assert len(session.scalars(select(Decision).where(Decision.action == "once")).all()) == 1


def test_unknown_ways_and_numbers_are_refused(session: Session, home: Home, pets: Dataset) -> None:
    for method, threshold, words in (
        ("dice", 0.9, "no way to a consensus"),
        ("quality", 1.5, "0.5 to 1"),
        ("quality", 0.9, "have it computed first"),
    ):
        with pytest.raises(Invalid, match=words):
            plan(session, home, pets, method, threshold=threshold)


# --- by quality ---------------------------------------------------------------------------------------------------


def compute(database: Database, home: Home, name: str = "pets") -> dict[str, object]:
    return worker.build_consensus(Context(database, home), dataset=name)


@pytest.fixture
def asked(database: Database) -> str:
    """Sixty images: anna and ben are right, cleo says owl whatever she sees; the last two are said by two people."""
    with database.write() as session:
        dataset = make_pets(session, per_class=20)
        truth = "".join(letter * 20 for letter in "cdo")
        queue = ask_several(session, dataset, asks=3)
        have_said(session, dataset, queue, {"anna": truth, "ben": truth[:-2] + "..", "cleo": "o" * 58 + "cd"})
    return "pets"


def test_quality_outweighs_numbers(asked: str, database: Database, home: Home) -> None:
    answer = compute(database, home)
    assert answer == {"dataset": "pets", "images": 60, "reviewers": 3, "run": None}
    with database.read() as session:
        dataset = datasets_named(session, "pets")
        result = consensus.load_result(session, home, dataset)
        assert result is not None
        quality = {session.get_one(User, one["user"]).name: one["quality"] for one in result.reviewers}
        assert quality["anna"] > 0.95 > quality["cleo"]
        made = plan(session, home, dataset, "quality")
        assert (made.disputed, made.by_flags) == (40, False)
        assert {cls.name for cls, _ in made.classes} == {"cat", "dog"}
        assert all(one.p >= 0.9 and one.cls is one.image.first_label for one in made.settling)
        kinds = {line.kind for line in session.scalars(select(Activity))}
        assert kinds == {"consensus"}


def datasets_named(session: Session, name: str) -> Dataset:
    return session.scalars(select(Dataset).where(Dataset.name == name)).one()


def test_what_was_said_since_is_not_settled_by_an_old_result(asked: str, database: Database, home: Home) -> None:
    compute(database, home)
    with database.write() as session:
        dataset = datasets_named(session, "pets")
        before = plan(session, home, dataset, "quality")
        image = before.settling[0].image
        item = session.scalars(select(QueueItem).where(QueueItem.image_id == image.id)).one()
        item.wants = 4
        say(session, dataset, item, users.ensure_user(session, "dora", role="reviewer"), "o")
        after = plan(session, home, dataset, "quality")
        assert (len(after.settling), after.others) == (len(before.settling) - 1, 1)

        action = next(
            line.action for line in session.scalars(select(Decision).where(Decision.user_id == item.image_id))
        )
        assert action


def test_without_opinions_the_job_says_what_to_do(database: Database, home: Home) -> None:
    with database.write() as session:
        make_pets(session)
    with pytest.raises(Invalid, match="open a queue that asks several"):
        compute(database, home)


def test_a_damaged_result_counts_as_none(asked: str, database: Database, home: Home) -> None:
    compute(database, home)
    (path,) = (home.root / "consensus").iterdir()
    path.write_text('{"line": 3')
    with database.read() as session:
        assert consensus.load_result(session, home, datasets_named(session, "pets")) is None
    compute(database, home)
    with database.read() as session:
        assert consensus.load_result(session, home, datasets_named(session, "pets")) is not None


def test_a_result_of_decisions_that_the_log_does_not_hold_counts_as_none(
    asked: str, database: Database, home: Home
) -> None:
    """As after a restore: what was said since cannot be told from it."""
    compute(database, home)
    with database.read() as session:
        dataset = datasets_named(session, "pets")
        result = consensus.load_result(session, home, dataset)
        assert result is not None
        consensus.save_result(home, dataset, replace(result, line=result.line + 1))
        assert consensus.load_result(session, home, dataset) is None


def test_the_promoted_run_is_one_reviewer_more_and_then_a_frozen_split_is_guarded(
    asked: str, database: Database, home: Home
) -> None:
    with database.write() as session:
        dataset = datasets_named(session, "pets")
        admin = users.ensure_admin(session)
        run = add_run(session, home, dataset=dataset, user=admin)
        dataset.promoted_run_id = run.id
        material = consensus.gather(session, home, dataset)
    assert material.model is not None
    assert set(material.model.tolist()) <= {-1, 0, 1, 2}
    assert compute(database, home)["run"] == run.id
    with database.write() as session:
        dataset = datasets_named(session, "pets")
        admin = users.ensure_admin(session)
        made = plan(session, home, dataset, "quality", threshold=0.5)
        assert made.by_flags
        freezing.freeze(session, dataset=dataset, user=admin, split="test", reason="measured on")
        made = plan(session, home, dataset, "quality", threshold=0.5)
        with pytest.raises(Frozen):
            consensus.settle(session, made, dataset=dataset, user=admin, stamp=made.stamp)


def test_gold_images_are_known_to_the_estimate(session: Session, home: Home, pets: Dataset, alice: User) -> None:
    images = list_images(session, pets)
    opinions.set_gold(session, dataset=pets, user=alice, image_ids=[images[0].id])
    have_said(session, pets, ask_several(session, pets, gold=[0]), {"anna": "cd", "ben": "dd"})
    material = consensus.gather(session, home, pets)
    assert material.opinions.image_ids.tolist() == [images[0].id, images[1].id]
    assert material.known.tolist() == [0, -1]
    assert material.model is None
    assert np.array_equal(material.opinions.said, [[0, 1], [1, 1]])


def test_one_job_at_a_time(session: Session, pets: Dataset, alice: User) -> None:
    first, second = (consensus.ask(session, dataset=pets, user=alice) for _ in range(2))
    assert first.id == second.id
    assert [job.kind for job in session.scalars(select(Job))] == ["consensus"]


# --- one at a time ------------------------------------------------------------------------------------------------


def test_a_case_shows_who_said_what_and_how_far_they_are_to_be_trusted(
    session: Session, home: Home, pets: Dataset, alice: User
) -> None:
    images = list_images(session, pets)
    opinions.set_gold(session, dataset=pets, user=alice, image_ids=[images[1].id])
    queue = ask_several(session, pets, asks=3, gold=[1])
    people = have_said(session, pets, queue, {"anna": "cc", "ben": "dc", "cleo": "ad"})
    decisions.decide(session, image=images[0], user=people["ben"], verdict="comment", text="whiskers?")

    case = adjudication.make_case(session, home, pets, images[0], viewer=alice)

    assert [(one.user.name, one.verdict, one.comment, one.blind) for one in case.statements] == [
        ("anna", "relabel", "", True),
        ("ben", "relabel", "whiskers?", True),
        ("cleo", "ambiguous", "", True),
    ]
    assert [one.gold.value for one in case.statements if one.gold] == [1.0, 1.0, 0.0]
    assert [cls.name for cls in case.statements[2].ambiguous] == ["cat", "dog"]
    assert (case.majority, case.place, case.total, case.previous_id, case.next_id) == (None, 1, 1, None, None)


def test_the_majority_is_what_more_people_say_than_anything_else(
    session: Session, home: Home, pets: Dataset, alice: User
) -> None:
    have_said(session, pets, ask_several(session, pets, asks=3), {"anna": "cx", "ben": "cx", "cleo": "dc"})
    first, second = list_images(session, pets)[:2]
    one, other = (adjudication.make_case(session, home, pets, image, viewer=alice) for image in (first, second))
    assert one.majority is not None
    assert (one.majority.name, one.next_id) == ("cat", second.id)
    assert (other.majority, other.place, other.previous_id) == (None, 2, first.id)


def test_who_is_still_asked_does_not_see_what_others_said(
    session: Session, home: Home, pets: Dataset, bob: User, alice: User
) -> None:
    queue = ask_several(session, pets)
    have_said(session, pets, queue, {"anna": "c", "bob": "d"})
    image = list_images(session, pets)[0]
    case = adjudication.make_case(session, home, pets, image, viewer=bob)
    assert ([one.user.name for one in case.statements], case.hidden, case.majority) == (["bob"], 1, None)
    (dispute,) = adjudication.list_disputes(session, pets, viewer=bob)
    assert ([one.user.name for one in dispute.statements], dispute.hidden) == (["bob"], 1)

    queue.closed_at = utc_now()
    case = adjudication.make_case(session, home, pets, image, viewer=bob)
    assert ([one.user.name for one in case.statements], case.hidden) == (["anna", "bob"], 0)


def test_one_opinion_more_is_asked_for_and_may_be_taken_back(
    session: Session, home: Home, pets: Dataset, alice: User
) -> None:
    queue = ask_several(session, pets)
    have_said(session, pets, queue, {"anna": "c", "ben": "d"})
    image = list_images(session, pets)[0]
    item = session.scalars(select(QueueItem).where(QueueItem.image_id == image.id)).one()

    adjudication.ask_another(session, dataset=pets, image=image, user=alice)
    assert (item.wants, adjudication.make_case(session, home, pets, image, viewer=alice).awaits) == (3, 1)
    with pytest.raises(Conflict, match="has not come yet"):
        adjudication.ask_another(session, dataset=pets, image=image, user=alice)
    adjudication.take_back_asking(session, dataset=pets, image=image, user=alice)
    assert item.wants == 2
    with pytest.raises(Conflict, match="never asked for"):
        adjudication.take_back_asking(session, dataset=pets, image=image, user=alice)
    assert [line.kind for line in session.scalars(select(Activity))] == ["opinion_asked", "opinion_unasked"]

    adjudication.ask_another(session, dataset=pets, image=image, user=alice)
    session.flush()
    served = {
        name: queue_queries.list_free_items(
            session, queue.id, user_id=users.ensure_user(session, name, role="reviewer").id, now=utc_now()
        )[0].id
        for name in ("anna", "ben", "cleo")
    }
    assert [name for name, item_id in served.items() if item_id == item.id] == ["cleo"]
    have_said(session, pets, queue, {"cleo": "d"})
    case = adjudication.make_case(session, home, pets, image, viewer=alice)
    assert (case.awaits, case.majority and case.majority.name) == (0, "dog")


def test_a_comment_on_a_blind_card_is_seen_beside_an_ordinary_verdict_once_the_queue_is_closed(
    session: Session, pets: Dataset, bob: User, alice: User
) -> None:
    image = list_images(session, pets)[0]
    decide(session, pets, image, "anna", "c")
    decide(session, pets, image, "ben", "d")
    queue = ask_several(session, pets)
    item = session.scalars(select(QueueItem).where(QueueItem.image_id == image.id)).one()
    cards.say_comment(session, item=item, user=users.ensure_user(session, "ben"), text="a dog", action=None)

    def read_comments(viewer: User) -> list[str]:
        (dispute,) = adjudication.list_disputes(session, pets, viewer=viewer)
        return [one.comment for one in dispute.statements]

    assert (read_comments(bob), read_comments(alice)) == (["", ""], ["", "a dog"])
    queue.closed_at = utc_now()
    session.flush()
    assert read_comments(bob) == ["", "a dog"]


def test_the_further_opinion_stays_asked_for_once_the_others_agree(
    session: Session, pets: Dataset, alice: User
) -> None:
    """Taken back, nothing would settle the image and nobody be asked."""
    queue = ask_several(session, pets)
    ben = have_said(session, pets, queue, {"anna": "c", "ben": "d"})["ben"]
    image = list_images(session, pets)[0]
    item = session.scalars(select(QueueItem).where(QueueItem.image_id == image.id)).one()
    adjudication.ask_another(session, dataset=pets, image=image, user=alice)
    say(session, pets, item, ben, "c")
    with pytest.raises(Conflict, match="do not differ any more"):
        adjudication.take_back_asking(session, dataset=pets, image=image, user=alice)
    assert item.wants == 3


def test_gold_is_known_to_the_consensus_when_its_class_was_merged(
    session: Session, home: Home, pets: Dataset, alice: User
) -> None:
    first, *_ = list_images(session, pets)
    opinions.set_gold(session, dataset=pets, user=alice, image_ids=[first.id])
    have_said(session, pets, ask_several(session, pets, gold=[0]), {"anna": "cc", "ben": "cd"})
    cat, dog = (datasets.get_class(session, pets, name) for name in ("cat", "dog"))
    datasets.merge_class(session, dataset=pets, user=alice, cls=cat, into=dog)
    material = consensus.gather(session, home, pets)
    categories = [one.name for one in material.opinions.categories]
    assert [categories[number] if number >= 0 else None for number in material.known.tolist()] == ["dog", None]


def test_what_no_queue_asks_several_about_cannot_be_sent_back(session: Session, pets: Dataset, alice: User) -> None:
    image = list_images(session, pets)[0]
    decide(session, pets, image, "anna", "c")
    decide(session, pets, image, "ben", "d")
    with pytest.raises(Invalid, match="No open queue asks several"):
        adjudication.ask_another(session, dataset=pets, image=image, user=alice)


def test_the_list_goes_on_after_an_image(session: Session, pets: Dataset, alice: User) -> None:
    have_said(session, pets, ask_several(session, pets), {"anna": "cdcd", "ben": "dcdc"})
    images = [image.id for image in list_images(session, pets)]
    assert queries.count_disputed(session, pets.id) == 4
    first = adjudication.list_disputes(session, pets, viewer=alice, limit=3)
    assert [one.image.id for one in first] == images[:3]
    rest = adjudication.list_disputes(session, pets, viewer=alice, after=images[2], limit=3)
    assert [(one.image.id, [said.user.name for said in one.statements]) for one in rest] == [
        (images[3], ["anna", "ben"])
    ]
