"""The classes page: every change a decision, refused changes named at their field."""

from collections.abc import Callable

import pytest
from flask import Flask
from sqlalchemy import select

from tests.conftest import Browser, make_pets
from workbench.db import Database
from workbench.models import Class, Dataset, Decision, Image
from workbench.services import decisions, users

BrowserAs = Callable[[str], Browser]


@pytest.fixture
def ids(database: Database) -> dict[str, int]:
    """Class name -> id."""
    with database.write() as session:
        make_pets(session)
        return {cls.name: cls.id for cls in session.scalars(select(Class))}


def classes(database: Database) -> list[tuple[str, str, str, bool]]:
    """(name, colour, key, open) in their order."""
    with database.read() as session:
        found = session.scalars(select(Class).order_by(Class.position, Class.id))
        return [(cls.name, cls.colour, cls.key, cls.is_open) for cls in found]


def undo_last(database: Database) -> None:
    with database.write() as session:
        dataset = session.scalars(select(Dataset)).one()
        decisions.undo_last(session, dataset=dataset, user=users.ensure_user(session, "some-lead"))


def text_of(browser: Browser, url: str = "/d/pets/classes") -> str:
    return " ".join(browser.get(url).get_data(as_text=True).split())


def test_the_page_counts_per_split_and_offers_changes_to_leads_only(
    app: Flask, browser_as: BrowserAs, ids: dict[str, int]
) -> None:
    assert app.test_client().get("/d/pets/classes").status_code == 404
    html = text_of(browser_as("reviewer"))
    assert 'aria-label="1 in train, 1 in test"' in html
    assert "Retire" not in html
    assert "Retire" in text_of(browser_as("lead"))
    assert browser_as("reviewer").post("/d/pets/classes", {"name": "fox"}).status_code == 403


def test_a_data_set_without_classes_says_where_they_come_from(browser_as: BrowserAs, database: Database) -> None:
    with database.write() as session:
        session.add(Dataset(name="bare"))
    assert "Classes come with an import." in text_of(browser_as("viewer"), "/d/bare/classes")


def test_adding_a_class_and_a_name_that_is_taken(
    browser_as: BrowserAs, database: Database, ids: dict[str, int]
) -> None:
    lead = browser_as("lead")
    assert lead.post("/d/pets/classes", {"name": " red fox "}).location == "/d/pets/classes"
    assert [row[0] for row in classes(database)] == ["cat", "dog", "owl", "red fox"]
    answer = lead.post("/d/pets/classes", {"name": "CAT"})
    html = answer.get_data(as_text=True)
    assert (answer.status_code, "This name is taken." in html, 'value="CAT"' in html) == (422, True, True)
    undo_last(database)
    assert [row[0] for row in classes(database) if row[3]] == ["cat", "dog", "owl"]


def test_rename_recolour_and_key_are_one_action(browser_as: BrowserAs, database: Database, ids: dict[str, int]) -> None:
    before = classes(database)
    lead = browser_as("lead")
    lead.post(f"/d/pets/classes/{ids['cat']}", {"name": "kitten", "colour": "#123abc", "key": "9"})
    assert classes(database)[0] == ("kitten", "#123abc", "9", True)
    assert f".class-{ids['cat']} {{ --class: #123abc; }}" in lead.get("/d/pets/colours.css").get_data(as_text=True)
    undo_last(database)
    assert classes(database) == before


def test_a_colour_field_in_small_letters_changes_nothing(
    browser_as: BrowserAs, database: Database, ids: dict[str, int]
) -> None:
    name, colour, key, _ = classes(database)[0]
    answer = browser_as("lead").post(
        f"/d/pets/classes/{ids['cat']}", {"name": name, "colour": colour.lower(), "key": key}
    )
    assert (answer.status_code, "Nothing was changed." in answer.get_data(as_text=True)) == (422, True)


@pytest.mark.parametrize(
    ("form", "sentence"),
    [
        ({"name": "dog"}, "This name is taken."),
        ({"name": "cat", "key": "2"}, "Taken by “dog”."),
        ({"name": "cat", "key": "x"}, "One digit, or empty."),
        ({"name": "cat", "colour": "red"}, "Like #0072B2."),
    ],
)
def test_a_refused_edit_names_its_field_and_keeps_what_was_typed(
    browser_as: BrowserAs, database: Database, ids: dict[str, int], form: dict[str, str], sentence: str
) -> None:
    before = classes(database)
    whole = {"name": "cat", "colour": "#E69F00", "key": "1"} | form
    answer = browser_as("lead").post(f"/d/pets/classes/{ids['cat']}", whole)
    html = answer.get_data(as_text=True)
    assert (answer.status_code, sentence in html) == (422, True)
    assert f'value="{list(form.values())[-1]}"' in html
    assert classes(database) == before


def test_moving_swaps_two_classes_as_one_action(browser_as: BrowserAs, database: Database, ids: dict[str, int]) -> None:
    lead = browser_as("lead")
    lead.post(f"/d/pets/classes/{ids['owl']}/move", {"step": "-1"})
    assert [row[0] for row in classes(database)] == ["cat", "owl", "dog"]
    undo_last(database)
    assert [row[0] for row in classes(database)] == ["cat", "dog", "owl"]
    assert lead.post(f"/d/pets/classes/{ids['owl']}/move", {"step": "1"}).status_code == 422


def test_a_merge_says_how_many_images_it_changes_and_one_undo_brings_them_back(
    browser_as: BrowserAs, database: Database, ids: dict[str, int]
) -> None:
    lead = browser_as("lead")
    preview = text_of(lead, f"/d/pets/classes/{ids['cat']}/merge?into={ids['dog']}")
    assert "2 images will show dog; one undo brings them back." in preview
    lead.post(f"/d/pets/classes/{ids['cat']}/merge", {"into": ids["dog"]})
    with database.read() as session:
        assert {image.label.name for image in session.scalars(select(Image))} == {"dog", "owl"}
    assert "merged into dog" in text_of(lead)
    undo_last(database)
    with database.read() as session:
        assert {image.label.name for image in session.scalars(select(Image))} == {"cat", "dog", "owl"}


def test_merging_into_itself_or_another_data_sets_class_is_refused(
    browser_as: BrowserAs, database: Database, ids: dict[str, int]
) -> None:
    lead = browser_as("lead")
    itself = lead.post(f"/d/pets/classes/{ids['cat']}/merge", {"into": ids["cat"]})
    assert (itself.status_code, "into itself" in itself.get_data(as_text=True)) == (422, True)
    with database.write() as session:
        make_pets(session, name="others")
        other = session.scalars(select(Class).where(Class.id.notin_(ids.values()))).first()
        other_id = other.id
    assert lead.post(f"/d/pets/classes/{ids['cat']}/merge", {"into": other_id}).status_code == 404


def test_retiring_and_restoring(browser_as: BrowserAs, database: Database, ids: dict[str, int]) -> None:
    lead = browser_as("lead")
    lead.post(f"/d/pets/classes/{ids['cat']}/retire")
    assert [row[3] for row in classes(database)] == [False, True, True]
    assert "retired; 2 images keep it" in text_of(lead)
    lead.post(f"/d/pets/classes/{ids['cat']}/retire", {"restore": "yes"})
    assert [row[3] for row in classes(database)] == [True, True, True]
    with database.read() as session:
        assert [line.kind for line in session.scalars(select(Decision))] == ["class_retire", "class_restore"]
