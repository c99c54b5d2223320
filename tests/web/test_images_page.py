"""Pictures, the grid with its filters and pages, the page of one image, one verdict on many."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import Engine, event, select

from tests.conftest import Browser, make_pets
from tests.drawing import draw
from workbench import storage
from workbench.config import Home
from workbench.db import Database
from workbench.models import Attribute, Class, Dataset, Decision, Image, User, Vote, utc_now
from workbench.queries import image_lists
from workbench.queries.image_lists import Cursor, ImageFilter
from workbench.services import bulk_decisions, freezing

BrowserAs = Callable[[str], Browser]


@pytest.fixture
def pets(database: Database, home: Home) -> dict[str, int]:
    """Path -> id of cat/0, cat/1, dog/0, dog/1, owl/0, owl/1, each with a picture that is really there."""
    with database.write() as session:
        make_pets(session)
        for image in session.scalars(select(Image)):
            image.file_sha256 = storage.put_object(home, draw(image.id))
            image.pixel_sha256 = image.file_sha256
        session.flush()
        return {image.path: image.id for image in session.scalars(select(Image))}


def change(database: Database, path: str, **values: object) -> None:
    with database.write() as session:
        image = session.scalars(select(Image).where(Image.path == path)).one()
        for field, value in values.items():
            setattr(image, field, value)


def class_ids(database: Database) -> dict[str, int]:
    with database.read() as session:
        return {cls.name: cls.id for cls in session.scalars(select(Class))}


def shown(html: str) -> list[str]:
    """The paths of the tiles, in their order."""
    return re.findall(r'<p class="path">([^<]+)</p>', html)


@contextmanager
def counted() -> Iterator[list[str]]:
    statements: list[str] = []

    def note(_conn: object, _cursor: object, statement: str, *_rest: object) -> None:
        if statement.lstrip().upper().startswith(("SELECT", "WITH")):
            statements.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(Engine, "before_cursor_execute", note)


# --- bytes --------------------------------------------------------------------------------------------------------


def test_a_thumbnail_is_kept_by_the_browser_only_under_an_address_that_names_its_pixels(
    browser_as: BrowserAs, pets: dict[str, int], database: Database
) -> None:
    browser = browser_as("viewer")
    with database.read() as session:
        sha256 = session.get_one(Image, pets["cat/0.png"]).pixel_sha256
    url = f"/images/{pets['cat/0.png']}/thumbnail/48"

    named = browser.get(f"{url}?v={sha256[:12]}")
    assert (named.status_code, named.mimetype) == (200, "image/png")
    assert named.headers["Cache-Control"] == "private, max-age=31536000, immutable"
    assert named.headers["ETag"] == f'"{sha256}-48"'
    assert browser.get(url).headers["Cache-Control"] == "private, max-age=0, must-revalidate"
    again = browser.client.get(url, headers={"If-None-Match": named.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")


def test_the_full_picture_comes_as_imported_and_can_run_nothing(browser_as: BrowserAs, pets: dict[str, int]) -> None:
    answer = browser_as("viewer").get(f"/images/{pets['cat/0.png']}/full")
    assert (answer.data, answer.mimetype) == (draw(pets["cat/0.png"]), "image/png")
    assert answer.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_other_sizes_and_unknown_images_are_not_found(browser_as: BrowserAs, pets: dict[str, int]) -> None:
    browser = browser_as("viewer")
    assert browser.get(f"/images/{pets['cat/0.png']}/thumbnail/50").status_code == 404
    assert browser.get("/images/999/thumbnail/48").status_code == 404


def test_a_stranger_sees_no_picture(app: Flask, pets: dict[str, int]) -> None:
    answer = app.test_client().get(f"/images/{pets['cat/0.png']}/full")
    assert (answer.status_code, answer.mimetype) == (404, "text/html")
    assert answer.data != draw(pets["cat/0.png"])


def test_a_file_that_is_gone_is_drawn_as_missing_and_the_page_says_so(
    browser_as: BrowserAs, database: Database, pets: dict[str, int], tmp_path: Path
) -> None:
    change(database, "cat/0.png", location=str(tmp_path / "gone.png"))
    browser = browser_as("viewer")
    answer = browser.get(f"/images/{pets['cat/0.png']}/full")
    assert (answer.status_code, answer.mimetype) == (404, "image/svg+xml")
    page = browser.get(f"/d/pets/images/{pets['cat/0.png']}").get_data(as_text=True)
    assert "The file of cat/0.png is gone or cannot be read" in page


# --- the grid -----------------------------------------------------------------------------------------------------


def test_an_empty_data_set_says_what_would_fill_it(browser_as: BrowserAs, database: Database) -> None:
    with database.write() as session:
        make_pets(session, per_class=0)
    assert "Import images" in browser_as("lead").get("/d/pets/images").get_data(as_text=True)
    assert "A lead imports them" in browser_as("viewer").get("/d/pets/images").get_data(as_text=True)


def test_the_grid_costs_the_same_at_3_and_30_images(app: Flask, database: Database, browser_as: BrowserAs) -> None:
    with database.write() as session:
        make_pets(session, per_class=1)
        make_pets(session, per_class=10, name="many")
    browser = browser_as("reviewer")
    costs = []
    for name in ("pets", "many"):
        with counted() as statements:
            html = browser.get(f"/d/{name}/images").get_data(as_text=True)
        costs.append((len(shown(html)), len(statements)))
    assert costs == [(3, 7), (30, 7)]


FILTERS = [
    ("class=CAT", ["cat/0.png", "cat/1.png"]),
    ("class=none", ["dog/1.png"]),
    ("split=test&class=CAT", ["cat/1.png"]),
    ("split=none", ["owl/1.png"]),
    ("status=excluded", ["owl/0.png"]),
    ("source=decision", ["owl/0.png"]),
    ("predicted=OWL", ["cat/0.png"]),
    ("agreement=agree", ["cat/1.png"]),
    ("agreement=disagree", ["cat/0.png"]),
    ("confidence_from=0.5", ["cat/0.png"]),
    ("confidence_to=0,5", ["cat/1.png"]),
    ("p_from=0.8&p_to=0.9", ["cat/0.png"]),
    ("text=OG/", ["dog/0.png", "dog/1.png"]),
    ("text=%25", []),
    ("attribute=coat=wild", ["owl/1.png"]),
    ("attribute=coat=tame", []),
]


def test_filters(browser_as: BrowserAs, database: Database, pets: dict[str, int]) -> None:
    ids = class_ids(database)
    change(database, "dog/1.png", label_id=None, status="ambiguous")
    change(database, "owl/0.png", status="excluded", label_source="decision", decided_at=utc_now())
    change(database, "owl/1.png", split=None)
    change(database, "cat/0.png", predicted_id=ids["owl"], confidence=0.9, p_wrong=0.85)
    change(database, "cat/1.png", predicted_id=ids["cat"], confidence=0.4, p_wrong=0.1)
    with database.write() as session:
        session.add(Attribute(image_id=pets["owl/1.png"], name="coat", value="wild"))
    browser = browser_as("viewer")
    for query, paths in FILTERS:
        query = query.replace("CAT", str(ids["cat"])).replace("OWL", str(ids["owl"]))
        answer = browser.get(f"/d/pets/images?{query}")
        html = answer.get_data(as_text=True)
        assert (query, answer.status_code, shown(html)) == (query, 200, paths)
        assert f"{len(paths)} match" in html
        assert html.count('aria-label="Remove the filter') == len(query.split("&"))


def test_a_filter_that_makes_no_sense_is_named_and_kept(browser_as: BrowserAs, pets: dict[str, int]) -> None:
    answer = browser_as("viewer").get("/d/pets/images?p_from=often&attribute=coat")
    html = answer.get_data(as_text=True)
    assert answer.status_code == 422
    assert ("A number from 0 to 1." in html, "Like race=asian." in html, 'value="often"' in html) == (True, True, True)


def test_htmx_gets_only_the_list(browser_as: BrowserAs, pets: dict[str, int]) -> None:
    html = browser_as("viewer").get("/d/pets/images", htmx=True).get_data(as_text=True)
    assert html.strip().startswith('<div id="image_list">')
    assert "<html" not in html


def test_pages_forwards_and_back_show_every_image_once_with_ties_and_gaps(
    database: Database, pets: dict[str, int]
) -> None:
    for path, value in (("cat/0.png", 0.5), ("dog/0.png", 0.5), ("owl/1.png", 0.25)):
        change(database, path, p_wrong=value, confidence=value, decided_at=utc_now())
    with database.read() as session:
        dataset_id = session.get_one(Image, pets["cat/0.png"]).dataset_id
        for sort in image_lists.SORTS:
            whole = [
                image.id for image in image_lists.list_images(session, dataset_id, ImageFilter(), sort=sort).images
            ]
            assert sorted(whole) == sorted(pets.values())

            for size in (1, 2, 4, 5):
                seen: list[int] = []
                after: Cursor | None = None
                last = None
                while True:
                    got = image_lists.list_images(
                        session, dataset_id, ImageFilter(), sort=sort, after=after, limit=size
                    )
                    seen += [image.id for image in got.images]
                    last = got
                    if got.after is None:
                        break
                    after = Cursor.parse(str(got.after), sort=sort)
                assert seen == whole

                back = [image.id for image in last.images]
                before = last.before
                while before is not None:
                    before = Cursor.parse(str(before), sort=sort)
                    got = image_lists.list_images(
                        session, dataset_id, ImageFilter(), sort=sort, before=before, limit=size
                    )
                    back = [image.id for image in got.images] + back
                    before = got.before
                assert back == whole


def test_a_broken_cursor_is_a_sentence(browser_as: BrowserAs, pets: dict[str, int]) -> None:
    answer = browser_as("viewer").get("/d/pets/images?after=x~y")
    assert answer.status_code == 422
    assert "start again from its first page" in answer.get_data(as_text=True)


def test_counting_stops_where_it_would_cost(database: Database, pets: dict[str, int], monkeypatch) -> None:
    monkeypatch.setattr(image_lists, "COUNT_UP_TO", 3)
    with database.read() as session:
        dataset_id = session.get_one(Image, pets["cat/0.png"]).dataset_id
        assert image_lists.count_images(session, dataset_id, ImageFilter(status="active")) == 4
        assert image_lists.count_images(session, dataset_id, ImageFilter()) == 6


# --- one verdict on many ------------------------------------------------------------------------------------------


def form_of(html: str) -> dict[str, list[str] | str]:
    """The hidden fields of the preview."""
    fields = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', html)
    return {name: [value for other, value in fields if other == name] for name, _ in fields}


def test_relabelling_many_is_previewed_and_one_action(
    browser_as: BrowserAs, database: Database, pets: dict[str, int]
) -> None:
    browser = browser_as("reviewer")
    owl = class_ids(database)["owl"]
    chosen = [pets["cat/0.png"], pets["dog/0.png"], pets["owl/0.png"]]
    preview = browser.post("/d/pets/images/bulk", {"verdict": "relabel", "class_id": owl, "image": chosen})
    html = preview.get_data(as_text=True)
    assert "Relabel 2 images" in html
    assert "1 image left alone: already owl." in html

    form = form_of(html)
    answer = browser.post("/d/pets/images/bulk/apply?split=train", form)
    assert (answer.status_code, answer.location) == (303, "/d/pets/images?split=train")
    assert "Relabelled 2 images to owl." in browser.get("/d/pets/images").get_data(as_text=True)
    browser.post("/d/pets/images/bulk/apply?split=train", form)  # pressed twice
    with database.read() as session:
        lines = list(session.scalars(select(Decision)))
        labels = {image.path: image.label.name for image in session.scalars(select(Image))}
    assert (len(lines), len({line.action for line in lines})) == (2, 1)
    assert (labels["cat/0.png"], labels["dog/0.png"], labels["cat/1.png"]) == ("owl", "owl", "cat")


def test_everything_that_matches_is_for_leads_and_follows_the_filters(
    browser_as: BrowserAs, database: Database, pets: dict[str, int]
) -> None:
    wanted = {"verdict": "exclude", "everything": "yes"}
    assert browser_as("reviewer").post("/d/pets/images/bulk?split=test", wanted).status_code == 422
    lead = browser_as("lead")
    html = lead.post("/d/pets/images/bulk?split=test", wanted).get_data(as_text=True)
    assert "Exclude 3 images" in html
    lead.post("/d/pets/images/bulk/apply?split=test", form_of(html))
    with database.read() as session:
        statuses = {image.path: image.status for image in session.scalars(select(Image))}
    assert {path for path, status in statuses.items() if status == "excluded"} == {
        "cat/1.png",
        "dog/1.png",
        "owl/1.png",
    }


def test_a_decision_made_meanwhile_shows_the_preview_again(
    browser_as: BrowserAs, database: Database, pets: dict[str, int]
) -> None:
    browser = browser_as("reviewer")
    chosen = [pets["cat/0.png"], pets["dog/0.png"]]
    form = form_of(browser.post("/d/pets/images/bulk", {"verdict": "exclude", "image": chosen}).get_data(as_text=True))
    browser_as("lead").post(f"/d/pets/images/{pets['cat/0.png']}/decide", {"verdict": "confirm"})

    answer = browser.post("/d/pets/images/bulk/apply", form)
    assert answer.status_code == 409
    assert "Somebody decided on some of these images meanwhile" in answer.get_data(as_text=True)
    with database.read() as session:
        assert [line.kind for line in session.scalars(select(Decision))] == ["confirm"]


def test_many_refuses_nothing_chosen_nothing_to_change_and_too_much(
    browser_as: BrowserAs, pets: dict[str, int], monkeypatch
) -> None:
    browser = browser_as("lead")
    nothing = browser.post("/d/pets/images/bulk", {"verdict": "exclude"})
    assert (nothing.status_code, "tick at least one" in nothing.get_data(as_text=True)) == (422, True)
    same = browser.post("/d/pets/images/bulk", {"verdict": "restore", "image": [pets["cat/0.png"]]})
    assert "Nothing would change" in same.get_data(as_text=True)
    monkeypatch.setattr(bulk_decisions, "MOST", 5)
    many = browser.post("/d/pets/images/bulk", {"verdict": "exclude", "everything": "yes"})
    assert (many.status_code, "more than 5 images" in many.get_data(as_text=True)) == (422, True)
    assert browser_as("viewer").post("/d/pets/images/bulk", {"verdict": "exclude"}).status_code == 403


def test_ambiguous_asks_between_which_classes(browser_as: BrowserAs, database: Database, pets: dict[str, int]) -> None:
    browser, ids = browser_as("reviewer"), class_ids(database)
    form: dict[str, object] = {"verdict": "ambiguous", "image": [pets["cat/0.png"], pets["dog/0.png"]]}
    asked = browser.post("/d/pets/images/bulk", form).get_data(as_text=True)
    assert "Between which classes?" in asked
    assert "Ambiguous needs two" in browser.post("/d/pets/images/bulk", form | {"class_ids": [ids["cat"]]}).get_data(
        as_text=True
    )
    assert browser.post("/d/pets/images/bulk/apply", form_of(asked) | {"stamp": "x"}).status_code == 422
    html = browser.post("/d/pets/images/bulk", form_of(asked) | {"class_ids": [ids["cat"], ids["dog"]]}).get_data(
        as_text=True
    )
    assert "Mark 2 images as ambiguous" in html
    browser.post("/d/pets/images/bulk/apply", form_of(html))
    with database.read() as session:
        image = session.get_one(Image, pets["dog/0.png"])
        assert (image.status, image.ambiguous_ids) == ("ambiguous", [ids["cat"], ids["dog"]])
    assert "as ambiguous between cat and dog." in browser.get("/d/pets/images").get_data(as_text=True)
    browser.post("/d/pets/undo")
    with database.read() as session:
        assert session.get_one(Image, pets["dog/0.png"]).status == "active"


def test_gold_is_for_leads_and_changes_nothing_else(
    browser_as: BrowserAs, database: Database, pets: dict[str, int]
) -> None:
    change(database, "dog/1.png", label_id=None, base_label_id=None)
    reviewer, lead = browser_as("reviewer"), browser_as("lead")
    wanted = {"verdict": "gold", "everything": "yes"}
    assert reviewer.post("/d/pets/images/bulk", {"verdict": "gold", "image": [1]}).status_code == 403
    html = lead.post("/d/pets/images/bulk", wanted).get_data(as_text=True)
    assert "Make 5 images gold" in html
    assert "1 image left alone: without a label nobody knows what it shows." in html
    lead.post("/d/pets/images/bulk/apply", form_of(html))
    with database.read() as session:
        images = list(session.scalars(select(Image)))
        assert all(image.gold_id == image.label_id for image in images)
        assert {image.label_source for image in images} == {"imported"}
    assert len(shown(lead.get("/d/pets/images?mark=gold").get_data(as_text=True))) == 5
    hidden = reviewer.get("/d/pets/images?mark=gold")
    assert (hidden.status_code, "gold" in hidden.get_data(as_text=True)) == (422, False)
    html = lead.post("/d/pets/images/bulk?split=train", {"verdict": "ungold", "everything": "yes"}).get_data(
        as_text=True
    )
    assert "Take the gold mark from 3 images" in html
    lead.post("/d/pets/images/bulk/apply?split=train", form_of(html))
    assert len(shown(lead.get("/d/pets/images?mark=gold").get_data(as_text=True))) == 2
    lead.post("/d/pets/undo")
    assert len(shown(lead.get("/d/pets/images?mark=gold").get_data(as_text=True))) == 5


def test_a_list_by_flags_decides_on_a_frozen_split_only_by_force(
    browser_as: BrowserAs, database: Database, pets: dict[str, int]
) -> None:
    ids = class_ids(database)
    for path in pets:
        change(database, path, predicted_id=ids["owl"], confidence=0.9)
    lead = browser_as("lead")
    with database.write() as session:
        dataset = session.scalars(select(Dataset)).one()
        user = session.scalars(select(User).where(User.role == "lead")).one()
        freezing.freeze(session, dataset=dataset, user=user, split="test")
    url, wanted = f"predicted={ids['owl']}", {"verdict": "relabel", "class_id": ids["owl"], "everything": "yes"}
    html = lead.post(f"/d/pets/images/bulk?{url}", wanted).get_data(as_text=True)
    assert "Test is frozen" in html
    refused = lead.post(f"/d/pets/images/bulk/apply?{url}", form_of(html))
    assert refused.status_code == 422
    assert "2 of these images stand in test, which is frozen" in refused.get_data(as_text=True)
    forced = form_of(html) | {"force": "yes", "forced": "they are all owls"}
    assert lead.post(f"/d/pets/images/bulk/apply?{url}", forced).status_code == 303
    plain = lead.post("/d/pets/images/bulk?split=test", {"verdict": "exclude", "everything": "yes"})
    assert "is frozen" not in plain.get_data(as_text=True)


def test_a_queue_is_made_of_what_the_list_shows(
    browser_as: BrowserAs, database: Database, pets: dict[str, int]
) -> None:
    lead, dog = browser_as("lead"), class_ids(database)["dog"]
    page = lead.get(f"/d/pets/images?class={dog}&split=train").get_data(as_text=True)
    assert "Review it" in page
    form = {name: value[0] for name, value in form_of(page).items() if name != "csrf_token"}
    assert form == {"recipe": "filter", "label": "dog", "split": "train"}
    card = lead.post("/d/pets/queues/build", form | {"view": "card"})
    grid = lead.post("/d/pets/queues/build", form | {"view": "sweep"})
    assert (card.location, grid.location) == ("/d/pets/queues/1", "/d/pets/queues/2/sweep")
    assert "Are all of these" in lead.get(grid.location).get_data(as_text=True)
    everything = lead.get("/d/pets/images").get_data(as_text=True)
    assert "Review these 6" in everything
    assert "Sweep them" in everything
    assert "Review these" not in browser_as("reviewer").get("/d/pets/images").get_data(as_text=True)
    asked = lead.post("/d/pets/queues/build", form | {"view": "sweep", "opinions": "3"})
    assert "asks 3 reviewers about each image" in lead.get(asked.location).get_data(as_text=True)


def test_more_than_fit_at_once_is_said(
    browser_as: BrowserAs, pets: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_decisions, "MOST", 5)
    html = browser_as("lead").get("/d/pets/images").get_data(as_text=True)
    assert "All that match at once: 5 at most, so narrow the filters." in html
    assert 'name="everything"' not in html


# --- one image ----------------------------------------------------------------------------------------------------


def test_the_image_page_tells_label_votes_prediction_attributes_and_copies(
    browser_as: BrowserAs, database: Database, pets: dict[str, int]
) -> None:
    ids = class_ids(database)
    with database.read() as session:
        sha256 = session.get_one(Image, pets["cat/0.png"]).pixel_sha256
    change(database, "cat/0.png", predicted_id=ids["owl"], confidence=0.9, p_wrong=0.85)
    change(database, "dog/0.png", pixel_sha256=sha256)
    with database.write() as session:
        session.add(Vote(image_id=pets["cat/0.png"], option="cat", class_id=ids["cat"], count=3))
        session.add(Attribute(image_id=pets["cat/0.png"], name="coat", value="ginger & white"))
    html = browser_as("viewer").get(f"/d/pets/images/{pets['cat/0.png']}").get_data(as_text=True)
    assert ("of 3 raters" in html, "P(wrong) 0.85" in html, "ginger &amp; white" in html) == (True, True, True)
    copies = html.partition('id="copies_title"')[2]
    assert f"/d/pets/images/{pets['dog/0.png']}" in copies
    assert "is right" not in html  # a viewer is offered no verdict


def test_deciding_undone_and_commented_shows_in_the_history(
    browser_as: BrowserAs, database: Database, pets: dict[str, int]
) -> None:
    browser = browser_as("reviewer")
    url = f"/d/pets/images/{pets['cat/0.png']}"
    answer = browser.post(f"{url}/decide", {"verdict": "relabel", "class_id": class_ids(database)["owl"]})
    assert (answer.status_code, answer.location) == (303, url)
    browser.post(f"{url}/decide", {"verdict": "comment", "text": "<b>whiskers</b>"})
    html = browser.get(url).get_data(as_text=True)
    history = html.partition('id="history_title"')[2]
    assert "“&lt;b&gt;whiskers&lt;/b&gt;”" in history
    assert re.sub(r"<[^>]+>|\s+", "", history).startswith(">History“&lt;b&gt;whiskers&lt;/b&gt;”some-reviewer·justnow")
    assert "cat</span> → <span" in history
    assert "owl is right" in html


def test_a_stale_page_gets_409_and_what_was_decided(
    browser_as: BrowserAs, database: Database, pets: dict[str, int]
) -> None:
    url = f"/d/pets/images/{pets['cat/0.png']}"
    browser_as("lead").post(f"{url}/decide", {"verdict": "exclude", "revision": 0})
    answer = browser_as("reviewer").post(f"{url}/decide", {"verdict": "confirm", "revision": 0})
    html = answer.get_data(as_text=True)
    assert (answer.status_code, "Somebody decided on this image meanwhile." in html) == (409, True)
    assert "✕ excluded" in html.partition('id="history_title"')[2]


def test_an_ambiguous_verdict_needs_two_classes_and_keeps_what_was_ticked(
    browser_as: BrowserAs, database: Database, pets: dict[str, int]
) -> None:
    ids = class_ids(database)
    url = f"/d/pets/images/{pets['cat/0.png']}"
    answer = browser_as("reviewer").post(f"{url}/decide", {"verdict": "ambiguous", "classes": [ids["owl"]]})
    html = answer.get_data(as_text=True)
    assert (answer.status_code, "Ambiguous needs two or more classes." in html) == (422, True)
    assert f'name="classes" value="{ids["owl"]}" checked' in html


def test_an_image_of_another_data_set_and_a_viewers_verdict_are_refused(
    browser_as: BrowserAs, database: Database, pets: dict[str, int]
) -> None:
    with database.write() as session:
        make_pets(session, name="others")
    assert browser_as("viewer").get(f"/d/others/images/{pets['cat/0.png']}").status_code == 404
    url = f"/d/pets/images/{pets['cat/0.png']}/decide"
    assert browser_as("viewer").post(url, {"verdict": "confirm"}).status_code == 403
