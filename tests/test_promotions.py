"""Which run the pages show: the first, a later one that the test finds not worse, any by hand with a reason."""

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.conftest import make_pets
from tests.trained_runs import add_run
from workbench.config import Home
from workbench.db import Database
from workbench.errors import Conflict, Invalid
from workbench.models import Activity, Dataset, Image, Run, User
from workbench.services import activities, promotions, runs, users
from workbench.services.promotions import Examination, examine
from workbench.worker import promoting
from workbench.worker.context import Context

ERRORS = {"cat/1.png": "dog", "cat/3.png": "dog", "owl/1.png": "cat"}  # 3 of the 12 test images of eight per class


@pytest.fixture
def pets(session: Session) -> Dataset:
    return make_pets(session, per_class=8)


def add_champion(session: Session, home: Home, dataset: Dataset, user: User, *, mistakes: dict[str, str]) -> Run:
    run = add_run(session, home, dataset=dataset, user=user, mistakes=mistakes)
    runs.promote(session, home, run)
    return run


def test_the_first_run_passes(session: Session, home: Home, pets: Dataset, alice: User) -> None:
    run = add_run(session, home, dataset=pets, user=alice)
    assert examine(session, home, run) == Examination(True, "It is the first of this data set.")
    kept = promotions.promote(session, home, run, user=alice)
    assert (kept["promoted"], kept["how"], kept["by"], kept["test"]) == (True, "first", "alice", None)
    assert promotions.tell(kept) == "Promoted as the first of this data set."
    assert (pets.promoted_run_id, run.promotion) == (run.id, kept)


def test_a_run_that_gets_more_right_passes(session: Session, home: Home, pets: Dataset, alice: User) -> None:
    champion = add_champion(session, home, pets, alice, mistakes=ERRORS)
    better = add_run(session, home, dataset=pets, user=alice)
    found = examine(session, home, better)
    assert (found.passes, found.against) == (True, champion.id)
    assert found.sentence.endswith(
        "That is no more than chance would make (p = 0.25). It is not worse, so it may be promoted."
    )
    assert (found.test or {})["difference"] == pytest.approx(0.25)
    assert "flipped" not in (found.test or {})
    kept = promotions.promote(session, home, better, user=alice)
    assert (kept["how"], pets.promoted_run_id) == ("test", better.id)
    assert promotions.tell(kept) == f"Promoted because it is not worse than run {champion.id}."


def test_an_equal_run_passes(session: Session, home: Home, pets: Dataset, alice: User) -> None:
    add_champion(session, home, pets, alice, mistakes=ERRORS)
    assert examine(session, home, add_run(session, home, dataset=pets, user=alice, mistakes=ERRORS)).passes


def test_a_lower_run_needs_enough_images_to_pass(session: Session, home: Home, pets: Dataset, alice: User) -> None:
    champion = add_champion(session, home, pets, alice, mistakes={})
    one_less = add_run(session, home, dataset=pets, user=alice, mistakes={"cat/1.png": "dog"})
    found = examine(session, home, one_less)
    assert not found.passes
    assert found.sentence.endswith("12 images cannot rule out that it is 25.0 points worse; up to 2 would pass.")
    with pytest.raises(Invalid, match=f"Run {one_less.id} is not promoted.*say why") as refused:
        promotions.promote(session, home, one_less, user=alice, reason="  ")
    assert refused.value.fields == {"reason": "Say why; it is kept with the run."}
    assert (pets.promoted_run_id, one_less.promotion) == (champion.id, None)


@pytest.mark.parametrize(
    ("difference", "low", "verdict", "passes"),
    [
        (0.0, -0.1, "tie", True),
        (-0.001, -0.0199, "tie", True),
        (-0.001, -0.0201, "tie", False),
        (-0.01, -0.015, "worse", False),
    ],
)
def test_where_the_line_is(difference: float, low: float, verdict: str, passes: bool) -> None:
    found = {"difference": difference, "low": low, "verdict": verdict, "n": 5000}
    assert promotions._judge(found, 3)[0] is passes


def test_a_clearly_worse_run_is_promoted_by_hand_with_a_reason(session: Session, home: Home, alice: User) -> None:
    dataset = make_pets(session, per_class=20)
    champion = add_champion(session, home, dataset, alice, mistakes={})
    images = session.scalars(select(Image).where(Image.split == "test"))
    worse = add_run(session, home, dataset=dataset, user=alice, mistakes={image.path: "cat" for image in images})
    found = examine(session, home, worse)
    assert (found.passes, (found.test or {})["verdict"]) == (False, "worse")
    assert found.sentence.endswith(f"So the test keeps run {champion.id}.")
    kept = promotions.promote(session, home, worse, user=alice, reason=" smaller,\n for the phones ")
    assert (kept["promoted"], kept["how"], kept["reason"]) == (True, "reason", "smaller, for the phones")
    assert promotions.tell(kept) == "Promoted by hand: “smaller, for the phones”."
    assert dataset.promoted_run_id == worse.id
    line = session.scalars(select(Activity).order_by(Activity.id.desc())).first()
    assert line is not None
    assert activities.phrase(line) == f"promoted run {worse.id}: “smaller, for the phones”"


def test_what_cannot_be_compared_does_not_pass(session: Session, home: Home, pets: Dataset, alice: User) -> None:
    champion = add_champion(session, home, pets, alice, mistakes={})
    (home.run_folder(champion.id) / "predictions.npz").unlink()
    run = add_run(session, home, dataset=pets, user=alice)
    found = examine(session, home, run)
    assert (found.passes, found.test) == (False, None)
    assert found.sentence.startswith(
        f"It cannot be compared with run {champion.id}: Run {champion.id} has no predictions"
    )


def test_what_cannot_be_promoted_is_said(session: Session, home: Home, pets: Dataset, alice: User) -> None:
    champion = add_champion(session, home, pets, alice, mistakes={})
    with pytest.raises(Conflict, match="is the promoted one already"):
        examine(session, home, champion)
    with pytest.raises(Invalid, match="is queued; only a run that is done can be promoted"):
        examine(session, home, runs.create_run(session, dataset=pets, user=alice))


# --- after a training -------------------------------------------------------------------------------------------


def add_asked(database: Database, home: Home, *, mistakes: dict[str, str], promote: bool = True) -> int:
    with database.write() as session:
        dataset = session.scalars(select(Dataset)).one_or_none() or make_pets(session, per_class=8)
        run = add_run(session, home, dataset=dataset, user=users.ensure_admin(session), mistakes=mistakes)
        run.config = {**run.config, "promote": promote}
        return run.id


def test_after_a_training_the_gate_is_the_same(database: Database, home: Home) -> None:
    context = Context(database, home)
    first, worse, better = (
        add_asked(database, home, mistakes=each) for each in (ERRORS, {**ERRORS, "dog/1.png": "owl"}, {})
    )

    answer = promoting.promote_if_asked(context, first)
    assert (answer["promoted"], answer["first"], answer["promotion"]["how"]) == (True, True, "first")

    answer = promoting.promote_if_asked(context, worse)
    assert (answer["promoted"], answer["first"]) == (False, False)
    told = answer["promotion"]
    assert (told["promoted"], told["how"], told["automatic"], told["against"]) == (False, "refused", True, first)
    assert promotions.tell(told) == f"Not promoted, although it was asked for: run {first} stays."
    assert promoting.promote_if_asked(context, worse) == answer  # again, after a kill

    assert promoting.promote_if_asked(context, better)["promotion"]["how"] == "test"
    with database.read() as session:
        lines = [activities.phrase(line) for line in session.scalars(select(Activity).order_by(Activity.id))]
    assert lines == [
        f"promoted run {first}",
        f"asked to promote run {worse}, which run {first} stood in the way of",
        f"promoted run {better}",
    ]


def test_a_run_that_was_not_to_be_promoted_is_not(database: Database, home: Home) -> None:
    context = Context(database, home)
    promoting.promote_if_asked(context, add_asked(database, home, mistakes=ERRORS))
    later = add_asked(database, home, mistakes={}, promote=False)
    assert promoting.promote_if_asked(context, later) == {"promoted": False, "first": False, "promotion": None}


def test_by_hand_from_the_command_line(database: Database, home: Home) -> None:
    context = Context(database, home)
    promoting.promote_if_asked(context, add_asked(database, home, mistakes={}))
    worse = add_asked(database, home, mistakes=ERRORS, promote=False)
    with pytest.raises(Invalid, match="To promote it all the same, say why"):
        promoting.promote_by_hand(context, worse)
    assert promoting.promote_by_hand(context, worse, reason="the new camera")["how"] == "reason"
    with database.read() as session:
        dataset = session.scalars(select(Dataset)).one()
        assert dataset.promoted_run_id == worse
        image = session.scalars(select(Image).where(Image.path == "cat/1.png")).one()
        assert image.predicted is not None
        assert image.predicted.name == "dog"
