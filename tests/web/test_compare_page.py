"""Two runs on the same images by the same labels."""

import re
from collections.abc import Callable

import pytest
from sqlalchemy import func, select

from tests.conftest import Browser, make_pets
from tests.trained_runs import add_run
from workbench.config import Home
from workbench.db import Database
from workbench.models import Class, Dataset, Decision, Image, Queue, Run
from workbench.services import decisions, runs, users
from workbench.web.comparing import list_steps, spread

BrowserAs = Callable[[str], Browser]
BEFORE = {"cat/1.png": "dog", "cat/3.png": "dog", "owl/1.png": "cat"}
AFTER = {"cat/1.png": "owl", "dog/1.png": "cat"}


@pytest.fixture
def pair(database: Database, home: Home) -> tuple[int, int]:
    """Two runs on pets: the second puts two of three mistakes right, makes another, and is wrong differently once."""
    with database.write() as session:
        dataset = make_pets(session, per_class=8)
        alice = users.ensure_user(session, "alice", role="lead")
        first = add_run(session, home, dataset=dataset, user=alice, mistakes=BEFORE)
        return first.id, add_run(session, home, dataset=dataset, user=alice, mistakes=AFTER).id


def test_both_accuracies_and_their_difference_are_shown(browser_as: BrowserAs, pair: tuple[int, int]) -> None:
    page = browser_as("viewer").get(f"/d/pets/compare?a={pair[0]}&b={pair[1]}").get_data(as_text=True)
    assert "+8.3 points" in page
    assert "n 12 test · McNemar p 1" in page
    assert f"<h1>A tie: run {pair[1]} and run {pair[0]} differ by no more than chance</h1>" in page
    assert "75.0 %" in page
    assert "83.3 %" in page


def test_what_flipped_is_shown_in_three_strips(browser_as: BrowserAs, pair: tuple[int, int]) -> None:
    page = browser_as("viewer").get(f"/d/pets/compare?a={pair[0]}&b={pair[1]}").get_data(as_text=True)
    fixed, broken, still = (page.index(f"<h3>{title}") for title in ("Fixed", "Broken", "Still wrong, differently"))
    assert page.count("<li>", fixed, broken) == 2
    assert page.count("<li>", broken, still) == 1
    assert page.count("<li>", still) == 1
    assert "dog → owl" in page[still:]


def test_classes_and_matrix_show_what_changed(browser_as: BrowserAs, pair: tuple[int, int]) -> None:
    page = browser_as("viewer").get(f"/d/pets/compare?a={pair[0]}&b={pair[1]}").get_data(as_text=True)
    assert f'aria-label="cat: run {pair[0]} 50.0 %, run {pair[1]} 75.0 %"' in page
    assert "<strong>+25.0</strong>" in page
    assert "Images more (+) or fewer (−) in each cell" in page
    assert "<span >-2</span>" in page


def test_a_lead_can_review_where_they_disagree(browser_as: BrowserAs, pair: tuple[int, int]) -> None:
    url = f"/d/pets/compare?a={pair[0]}&b={pair[1]}"
    assert "Review where the two disagree" in browser_as("lead").get(url).get_data(as_text=True)
    assert "Review where the two disagree" not in browser_as("viewer").get(url).get_data(as_text=True)
    form = {"recipe": "disagreement", "run": pair[1], "against": pair[0]}
    assert browser_as("lead").post("/d/pets/queues/build", form).status_code == 303


def test_two_boxes_of_the_list_are_enough(browser_as: BrowserAs, pair: tuple[int, int]) -> None:
    page = browser_as("viewer").get(f"/d/pets/compare?run={pair[1]}&run={pair[0]}").get_data(as_text=True)
    assert f"A tie: run {pair[1]} and run {pair[0]}" in page


@pytest.mark.parametrize("query", ["run=1", "a=1&b=1", "a=x&b=2", "run=1&run=2&run=3"])
def test_other_than_two_runs_is_said(browser_as: BrowserAs, pair: tuple[int, int], query: str) -> None:
    answer = browser_as("viewer").get(f"/d/pets/compare?{query}")
    assert answer.status_code == 422
    assert "Choose two different runs." in answer.get_data(as_text=True)


def test_a_split_without_common_images_is_said(browser_as: BrowserAs, pair: tuple[int, int]) -> None:
    answer = browser_as("viewer").get(f"/d/pets/compare?a={pair[0]}&b={pair[1]}&split=validation")
    assert answer.status_code == 422
    assert "no image of the split “validation” in common" in answer.get_data(as_text=True)


def test_without_two_runs_the_page_says_so(browser_as: BrowserAs, database: Database) -> None:
    with database.write() as session:
        make_pets(session)
    assert "There is no run so far" in browser_as("viewer").get("/d/pets/compare").get_data(as_text=True)


def test_a_run_of_another_data_set_is_not_found(
    browser_as: BrowserAs, database: Database, pair: tuple[int, int]
) -> None:
    with database.write() as session:
        make_pets(session, name="others")
    assert browser_as("viewer").get(f"/d/others/compare?a={pair[0]}&b={pair[1]}").status_code == 404


def test_examples_are_spread_over_all_that_flipped() -> None:
    assert spread([1, 2, 3], most=5) == [1, 2, 3]
    assert spread(list(range(10)), most=4) == [0, 2, 5, 7]
    assert spread([], most=4) == []


# --- promoting --------------------------------------------------------------------------------------------------


@pytest.fixture
def champion(database: Database, home: Home, pair: tuple[int, int]) -> tuple[int, int]:
    """The pair, of which the first is promoted."""
    with database.write() as session:
        runs.promote(session, home, session.get_one(Run, pair[0]))
    return pair


def get_champion(database: Database) -> int | None:
    with database.read() as session:
        return session.scalars(select(Dataset.promoted_run_id)).one()


def test_the_page_says_whether_the_second_may_be_promoted(browser_as: BrowserAs, champion: tuple[int, int]) -> None:
    url = f"/d/pets/compare?a={champion[0]}&b={champion[1]}"
    page = browser_as("lead").get(url).get_data(as_text=True)
    assert f"✓ Not worse than run {champion[0]}: it can be promoted." in page
    assert f"Promote run {champion[1]}</button>" in page
    seen = browser_as("viewer").get(url).get_data(as_text=True)
    assert "it can be promoted" in seen
    assert "Promote run" not in seen
    assert "it can be promoted" not in browser_as("lead").get(
        f"/d/pets/compare?a={champion[1]}&b={champion[0]}"
    ).get_data(as_text=True)


def test_what_passes_is_promoted_and_its_page_says_by_which_test(
    browser_as: BrowserAs, database: Database, champion: tuple[int, int]
) -> None:
    lead = browser_as("lead")
    assert lead.post(f"/d/pets/runs/{champion[1]}/promote").location == f"/d/pets/runs/{champion[1]}"
    assert get_champion(database) == champion[1]
    page = lead.get(f"/d/pets/runs/{champion[1]}").get_data(as_text=True)
    assert f"✓ Promoted by some-lead, because it is not worse than run {champion[0]}." in page
    assert f"On 12 images (test) run {champion[1]} gets 83.3% right and run {champion[0]} 75.0%" in page
    shown = lead.get(f"/d/pets/compare?a={champion[0]}&b={champion[1]}").get_data(as_text=True)
    assert f"✓ run {champion[1]} is promoted" in shown


def test_what_does_not_pass_needs_a_reason(
    browser_as: BrowserAs, database: Database, home: Home, champion: tuple[int, int]
) -> None:
    with database.write() as session:
        dataset, alice = session.scalars(select(Dataset)).one(), users.ensure_user(session, "alice", role="lead")
        worse = add_run(session, home, dataset=dataset, user=alice, mistakes={**BEFORE, "dog/1.png": "owl"}).id
    lead, url = browser_as("lead"), f"/d/pets/runs/{worse}/promote"
    refused = lead.post(url, {"reason": "  "})
    page = refused.get_data(as_text=True)
    assert refused.status_code == 422
    assert f"▲ Perhaps worse than run {champion[0]}: not promoted by the test." in page
    assert "12 images cannot rule out that it is 25.0 points worse; up to 2 would pass." in page
    assert "Say why; it is kept with the run." in page
    assert get_champion(database) == champion[0]
    assert browser_as("reviewer").post(url, {"reason": "I like it"}).status_code == 403

    assert lead.post(url, {"reason": "it is half the size"}).status_code == 303

    assert get_champion(database) == worse
    page = lead.get(f"/d/pets/runs/{worse}").get_data(as_text=True)
    assert "✓ Promoted by some-lead, by hand: “it is half the size”." in page
    activity = lead.get("/activity").get_data(as_text=True)
    assert f"promoted run {worse}: “it is half the size”" in activity


def test_a_run_that_cannot_be_compared_is_promoted_by_hand_too(
    browser_as: BrowserAs, database: Database, home: Home, champion: tuple[int, int]
) -> None:
    (home.run_folder(champion[0]) / "predictions.npz").unlink()
    lead = browser_as("lead")
    page = lead.get(f"/d/pets/compare?a={champion[0]}&b={champion[1]}").get_data(as_text=True)
    assert f"▲ Not comparable with run {champion[0]}: not promoted by the test." in page
    url = f"/d/pets/runs/{champion[1]}/promote"
    assert lead.post(url).status_code == 422
    assert lead.post(url, {"reason": "the old one is lost"}).status_code == 303
    assert get_champion(database) == champion[1]


# --- what bought it ---------------------------------------------------------------------------------------------


@pytest.fixture
def relabelled(database: Database, pair: tuple[int, int]) -> tuple[int, int]:
    """The pair, with a label of test put right after the first, and other settings for the second."""
    with database.write() as session:
        image = session.scalars(select(Image).where(Image.path == "owl/1.png")).one()
        cat = session.scalars(select(Class).where(Class.name == "cat")).one()
        before = session.scalar(select(func.max(Decision.id))) or 0
        decisions.decide(session, image=image, user=users.ensure_admin(session), verdict="relabel", class_id=cat.id)
        first, second = (session.get_one(Run, run_id) for run_id in pair)
        first.decision_id, second.decision_id = before, session.scalar(select(func.max(Decision.id))) or 0
        first.content_hash, second.content_hash = "a" * 64, "b" * 64
        second.config = {**second.config, "overrides": {"epochs": 9}, "training": {"epochs": 9, "batch_size": 128}}
    return pair


def test_steps_say_what_labels_and_model_bought(browser_as: BrowserAs, relabelled: tuple[int, int]) -> None:
    url = f"/d/pets/compare?a={relabelled[0]}&b={relabelled[1]}"
    page = browser_as("lead").get(url).get_data(as_text=True)
    gain = page[page.index("What bought it") : page.index("What flipped")]
    for words in ("Better labels to judge by", "The model", "Together", "by the labels then", "Train the control"):
        assert words in gain
    assert re.findall(r"<strong>([+−][\d.]+)</strong></td><td class=\"number\"><span", gain) == ["+8.3", "−8.3", "+0.0"]
    assert "1 label of these images was put right" in gain
    assert "<td>epochs</td><td>3</td><td>9</td>" in page
    assert "Train the control" not in browser_as("viewer").get(url).get_data(as_text=True)


def test_the_control_is_asked_for_and_waited_for(
    browser_as: BrowserAs, database: Database, relabelled: tuple[int, int]
) -> None:
    lead, form = browser_as("lead"), {"a": relabelled[0], "b": relabelled[1]}
    answer = lead.post("/d/pets/compare/control", form)
    assert answer.location == f"/d/pets/runs/{relabelled[1] + 1}"
    with database.read() as session:
        run = session.scalars(select(Run).order_by(Run.id.desc())).first()
        assert run is not None
        assert (run.status, run.content_hash, run.config["overrides"]) == ("queued", "a" * 64, {"epochs": 9})
    page = lead.get(f"/d/pets/compare?a={relabelled[0]}&b={relabelled[1]}").get_data(as_text=True)
    assert "the control, is done; it is queued" in page
    assert lead.post("/d/pets/compare/control", {"a": relabelled[0]}).status_code == 404
    assert browser_as("reviewer").post("/d/pets/compare/control", form).status_code == 403


def test_steps_are_drawn_on_one_scale() -> None:
    parts = [
        {"part": "labels", "difference": 0.01, "low": 0.0, "high": 0.02},
        {"part": "whole", "difference": -0.04, "low": -0.06, "high": -0.02},
    ]
    first, second = list_steps(parts)
    assert (first.zero, first.value, first.low, first.high) == (75.0, 87.5, 75.0, 100.0)
    assert (second.value, second.low, second.high) == (25.0, 0.0, 50.0)
    assert (first.is_sure, second.is_sure, second.is_whole) == (False, True, True)
    assert list_steps([{**parts[0], "difference": 0.0, "high": 0.0}])[0].value == 0.0


# --- flipped images as queues -----------------------------------------------------------------------------------


def test_each_kind_of_flip_is_a_queue(browser_as: BrowserAs, database: Database, pair: tuple[int, int]) -> None:
    lead = browser_as("lead")
    page = lead.get(f"/d/pets/compare?a={pair[0]}&b={pair[1]}").get_data(as_text=True)
    flips = page[page.index("What flipped") : page.index("Recall by class")]
    assert [flips.count(f"Review {some}</button>") for some in ("these 2", "it")] == [1, 2]
    form = {"recipe": "flipped", "run": pair[1], "against": pair[0], "kind": "fixed", "split": "test"}
    assert lead.post("/d/pets/queues/build", form).status_code == 303
    with database.read() as session:
        queue = session.scalars(select(Queue).order_by(Queue.id.desc())).first()
        assert queue is not None
        assert (queue.size, queue.title) == (2, f"Fixed by run {pair[1]} (run {pair[0]} is wrong) (test)")


def test_flips_of_a_frozen_split_are_for_looking(
    browser_as: BrowserAs, database: Database, pair: tuple[int, int]
) -> None:
    with database.write() as session:
        session.scalars(select(Dataset)).one().frozen_split = "test"
    page = browser_as("lead").get(f"/d/pets/compare?a={pair[0]}&b={pair[1]}").get_data(as_text=True)
    assert "❄ Test is frozen: these are to be looked at." in page
    assert "Review these 2" not in page
