"""Two runs on the same images by the same labels."""

from collections.abc import Callable

import pytest

from tests.conftest import Browser, make_pets
from tests.trained_runs import add_run
from workbench.config import Home
from workbench.db import Database
from workbench.services import users
from workbench.web.comparing import spread

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
