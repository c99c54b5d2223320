"""Duplicates: the list, one group, its verdict and undo, settling in bulk, the scan."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from flask import Flask
from sqlalchemy import event, select
from sqlalchemy.orm import Session

from tests.conftest import Browser, make_pets
from workbench.db import Database
from workbench.models import Attribute, Class, DuplicateGroup, DuplicatePair, Image, Job, utc_now
from workbench.queries.duplicates import MemberRow, list_groups_of_image
from workbench.services import duplicates
from workbench.services.duplicates import FoundGroup
from workbench.services.group_pages import Member, find_differing, fit_scale, suggest

BrowserAs = Callable[[str], Browser]


@pytest.fixture
def copies(database: Database) -> list[int]:
    """Three open groups: cat 0 and 1 equal in train and test, dog 0 equal to owl 0, dog 1 and owl 1 near."""
    with database.write() as session:
        dataset = make_pets(session)
        images = pets_by_path(session)
        images["cat/1.png"].pixel_sha256 = images["cat/0.png"].pixel_sha256
        images["owl/0.png"].pixel_sha256 = images["dog/0.png"].pixel_sha256
        session.flush()
        duplicates.refresh_exact_groups(session, dataset)
        near = [images["dog/1.png"].id, images["owl/1.png"].id]
        duplicates.refresh_near_groups(session, dataset, [FoundGroup(near, score=0.9, p=0.83)])
        return list(session.scalars(select(DuplicateGroup.id).order_by(DuplicateGroup.rank, DuplicateGroup.id)))


def pets_by_path(session: Session) -> dict[str, Image]:
    return {image.path: image for image in session.scalars(select(Image))}


def statuses(database: Database) -> dict[str, str]:
    with database.read() as session:
        return {path: image.status for path, image in pets_by_path(session).items()}


def group_with(database: Database, path: str) -> int:
    with database.read() as session:
        return list_groups_of_image(session, pets_by_path(session)[path].id)[0].group.id


@contextmanager
def counted(database: Database) -> Iterator[list[str]]:
    statements: list[str] = []

    def note(_conn: object, _cursor: object, statement: str, *_rest: object) -> None:
        if statement.lstrip().upper().startswith("SELECT"):
            statements.append(statement)

    event.listen(database.reader, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(database.reader, "before_cursor_execute", note)


def test_a_stranger_gets_404(app: Flask) -> None:
    assert app.test_client().get("/d/pets/duplicates").status_code == 404


def test_before_the_first_scan_the_page_offers_one(browser_as: BrowserAs, database: Database) -> None:
    with database.write() as session:
        make_pets(session)
    page = browser_as("lead").get("/d/pets/duplicates").get_data(as_text=True)
    assert "Not scanned yet" in page
    assert "Scan for duplicates" in page
    assert "A lead can start one." in browser_as("viewer").get("/d/pets/duplicates").get_data(as_text=True)


def test_a_scan_that_found_nothing_says_so(browser_as: BrowserAs, database: Database) -> None:
    with database.write() as session:
        make_pets(session).scanned_at = utc_now()
    assert "no two images that are the same picture" in browser_as("viewer").get("/d/pets/duplicates").get_data(
        as_text=True
    )


def test_the_list_shows_conflicting_groups_first_and_counts(browser_as: BrowserAs, copies: list[int]) -> None:
    page = browser_as("reviewer").get("/d/pets/duplicates").get_data(as_text=True)
    positions = [page.index(f">Group {group_id}: ") for group_id in copies]
    assert positions == sorted(positions)
    assert "3 images could go" in page
    assert (page.count("labels differ"), page.count("spans splits")) == (2, 1)
    assert "P(same) 0.83" in page
    assert "Settle exact groups" not in page  # only a lead settles in bulk


def test_the_list_is_filtered_and_paged(
    browser_as: BrowserAs, copies: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer = browser_as("viewer")
    near = viewer.get("/d/pets/duplicates?kind=near").get_data(as_text=True)
    assert near.count('class="group"') == 1
    spanning = viewer.get("/d/pets/duplicates?show=spanning").get_data(as_text=True)
    assert spanning.count('class="group"') == 1
    assert "Nothing settled yet" in viewer.get("/d/pets/duplicates?show=settled").get_data(as_text=True)

    monkeypatch.setattr("workbench.web.duplicates.PER_PAGE", 2)
    first = viewer.get("/d/pets/duplicates").get_data(as_text=True)
    assert first.count('class="group"') == 2
    after = first.split("after=")[1].split('"')[0]
    second = viewer.get(f"/d/pets/duplicates?after={after}").get_data(as_text=True)
    assert second.count('class="group"') == 1
    assert f">Group {copies[2]}: " in second
    assert viewer.get("/d/pets/duplicates?after=x-1&show=all&kind=odd").status_code == 200


def test_the_list_costs_the_same_for_one_and_three_groups(
    browser_as: BrowserAs, database: Database, copies: list[int]
) -> None:
    viewer = browser_as("viewer")
    with counted(database) as three:
        viewer.get("/d/pets/duplicates")
    with counted(database) as one:
        viewer.get("/d/pets/duplicates?show=spanning")
    assert len(one) == len(three)


def test_a_group_shows_its_images_with_what_differs(
    browser_as: BrowserAs, database: Database, copies: list[int]
) -> None:
    page = browser_as("reviewer").get(f"/d/pets/duplicates/{group_with(database, 'dog/0.png')}").get_data(as_text=True)
    assert "One picture, two labels: which is right?" in page
    assert page.count('class="fact differs ') == 4  # label and folder of both
    assert "suggested: the label of the image kept" in page
    assert 'value="not_duplicates"' not in page  # equal pixels are the same picture

    near = browser_as("viewer").get(f"/d/pets/duplicates/{group_with(database, 'dog/1.png')}").get_data(as_text=True)
    assert "Are these the same picture?" in near
    assert 'name="verdict"' not in near  # a viewer only looks
    assert 'id="stage"' in near
    assert 'id="stage"' not in page  # nothing to see between equal pixels


def test_a_group_of_another_data_set_is_not_found(browser_as: BrowserAs, database: Database, copies: list[int]) -> None:
    with database.write() as session:
        make_pets(session, name="others")
    assert browser_as("viewer").get(f"/d/others/duplicates/{copies[0]}").status_code == 404


def test_keeping_one_excludes_the_others_and_goes_on_to_the_next_group(
    browser_as: BrowserAs, database: Database, copies: list[int]
) -> None:
    reviewer = browser_as("reviewer")
    group_id = group_with(database, "cat/0.png")
    with database.read() as session:
        keep_id = pets_by_path(session)["cat/0.png"].id
    answer = reviewer.post(f"/d/pets/duplicates/{group_id}", {"verdict": "keep_best", "keep_id": keep_id})
    assert answer.status_code == 303
    assert answer.location in [f"/d/pets/duplicates/{other}" for other in copies if other != group_id]
    assert [path for path, status in statuses(database).items() if status == "excluded"] == ["cat/1.png"]
    following = reviewer.get(answer.location).get_data(as_text=True)
    assert "Kept one, excluded the others. z undoes it." in following
    assert "kept 1 of 2" in following

    undone = reviewer.post(f"/d/pets/duplicates/{group_id}/undo")
    assert (undone.status_code, undone.location) == (303, f"/d/pets/duplicates/{group_id}")
    assert set(statuses(database).values()) == {"active"}


def test_merging_labels_relabels_the_one_that_stays(
    browser_as: BrowserAs, database: Database, copies: list[int]
) -> None:
    group_id = group_with(database, "dog/0.png")
    with database.read() as session:
        images, owl = pets_by_path(session), session.scalar(select(Class).where(Class.name == "owl"))
        assert owl is not None
        keep_id, class_id = images["dog/0.png"].id, owl.id
    form = {"verdict": "merge_labels", "keep_id": keep_id, "class_id": class_id, "action": "a" * 32}
    browser = browser_as("reviewer")
    assert browser.post(f"/d/pets/duplicates/{group_id}", form).status_code == 303
    assert browser.post(f"/d/pets/duplicates/{group_id}", form).status_code == 303  # sent twice, counts once
    with database.read() as session:
        images = pets_by_path(session)
        assert (images["dog/0.png"].label_id, images["dog/0.png"].status) == (class_id, "active")
        assert images["owl/0.png"].status == "excluded"


@pytest.mark.parametrize(("verdict", "says"), [("keep_all", "Kept all."), ("not_duplicates", "not the same picture")])
def test_a_near_group_is_kept_whole_or_split(
    browser_as: BrowserAs, database: Database, copies: list[int], verdict: str, says: str
) -> None:
    reviewer = browser_as("reviewer")
    group_id = group_with(database, "dog/1.png")
    answer = reviewer.post(f"/d/pets/duplicates/{group_id}", {"verdict": verdict})
    assert says in reviewer.get(answer.location).get_data(as_text=True)
    assert set(statuses(database).values()) == {"active"}
    settled = reviewer.get("/d/pets/duplicates?show=settled").get_data(as_text=True)
    assert "some-reviewer" in settled


def test_the_last_verdict_leads_back_to_the_list(browser_as: BrowserAs, database: Database, copies: list[int]) -> None:
    reviewer = browser_as("reviewer")
    for group_id in copies:
        answer = reviewer.post(f"/d/pets/duplicates/{group_id}", {"verdict": "keep_all"}, htmx=group_id == copies[-1])
    assert answer.headers["HX-Redirect"] == "/d/pets/duplicates"
    page = reviewer.get("/d/pets/duplicates").get_data(as_text=True)
    assert "That was the last open group." in page
    assert "All settled" in page


def test_a_verdict_that_came_too_late_shows_the_first_one(
    browser_as: BrowserAs, database: Database, copies: list[int]
) -> None:
    reviewer, lead = browser_as("reviewer"), browser_as("lead")
    reviewer.post(f"/d/pets/duplicates/{copies[0]}", {"verdict": "keep_all"})
    answer = lead.post(f"/d/pets/duplicates/{copies[0]}", {"verdict": "keep_best"})
    page = answer.get_data(as_text=True)
    assert answer.status_code == 409
    assert "Somebody settled this group meanwhile" in page
    assert "All kept" in page
    assert "some-reviewer" in page
    assert lead.post(f"/d/pets/duplicates/{copies[1]}/undo").status_code == 409


def test_a_senseless_verdict_is_refused_and_keeps_the_choice(
    browser_as: BrowserAs, database: Database, copies: list[int]
) -> None:
    reviewer = browser_as("reviewer")
    group_id = group_with(database, "dog/0.png")
    with database.read() as session:
        keep_id = pets_by_path(session)["owl/0.png"].id
    answer = reviewer.post(f"/d/pets/duplicates/{group_id}", {"verdict": "merge_labels", "keep_id": keep_id})
    page = answer.get_data(as_text=True)
    assert answer.status_code == 422
    assert "Choose the class that all of these images show." in page
    assert f'value="{keep_id}" data-number="2" data-label="owl" checked' in page
    odd = reviewer.post(f"/d/pets/duplicates/{group_id}", {"verdict": "burn", "keep_id": "x"})
    assert odd.status_code == 422
    assert "“burn” is not a verdict" in odd.get_data(as_text=True)
    assert set(statuses(database).values()) == {"active"}


def test_settling_in_bulk_is_previewed_and_undone_by_one_button(
    browser_as: BrowserAs, database: Database, copies: list[int]
) -> None:
    lead = browser_as("lead")
    assert "<strong>1 exact group</strong> agrees on the label" in lead.get("/d/pets/duplicates").get_data(as_text=True)
    preview = lead.get("/d/pets/duplicates/bulk").get_data(as_text=True)
    assert "Keep 1, exclude 1?" in preview
    answer = lead.post("/d/pets/duplicates/bulk", {"action": "b" * 32})
    assert (answer.status_code, answer.location) == (303, "/d/pets/duplicates")
    assert "1 group settled. z takes all of it back." in lead.get("/d/pets/duplicates").get_data(as_text=True)
    assert sorted(statuses(database).values()) == ["active"] * 5 + ["excluded"]
    assert "Nothing to settle in bulk" in lead.get("/d/pets/duplicates/bulk").get_data(as_text=True)
    lead.post(f"/d/pets/duplicates/{group_with(database, 'cat/0.png')}/undo")
    assert set(statuses(database).values()) == {"active"}


def test_undoing_what_was_settled_in_bulk_says_how_many_groups_it_opens(
    browser_as: BrowserAs, database: Database
) -> None:
    with database.write() as session:
        dataset = make_pets(session, per_class=4)
        images = pets_by_path(session)
        for copy, of in (("cat/1.png", "cat/0.png"), ("dog/1.png", "dog/0.png")):
            images[copy].pixel_sha256 = images[of].pixel_sha256
        session.flush()
        duplicates.refresh_exact_groups(session, dataset)
    lead, reviewer = browser_as("lead"), browser_as("reviewer")
    lead.post("/d/pets/duplicates/bulk", {"action": "b" * 32})
    assert "Undo the last 2 groups" in lead.get("/d/pets/duplicates").get_data(as_text=True)
    assert reviewer.get("/d/pets/duplicates?show=settled").get_data(as_text=True).count(">Undo all 2</button>") == 2
    group_id = group_with(database, "cat/0.png")
    assert ">Undo all 2 groups</button>" in reviewer.get(f"/d/pets/duplicates/{group_id}").get_data(as_text=True)
    answer = reviewer.post(f"/d/pets/duplicates/{group_id}/undo")
    assert answer.location == "/d/pets/duplicates"
    assert "Undone: 2 groups are open again." in reviewer.get("/d/pets/duplicates").get_data(as_text=True)


def test_a_bulk_that_cannot_be_read_offers_nothing_else(browser_as: BrowserAs, copies: list[int]) -> None:
    lead = browser_as("lead")
    answer = lead.get("/d/pets/duplicates/bulk?which=near&min_p=abc")
    page = answer.get_data(as_text=True)
    assert answer.status_code == 422
    assert "P must be a number from 0.5 to 1." in page
    assert 'value="near" data-submit-on-change checked' in page
    assert 'value="abc"' in page
    assert not re.search(r">Settle \d", page)
    assert lead.post("/d/pets/duplicates/bulk", {"which": "near", "min_p": "2"}).status_code == 422
    assert lead.get("/d/pets/duplicates/bulk?which=both&min_p=0,8").status_code == 200


def test_an_address_with_a_number_that_no_row_can_have_shows_the_first_page(
    browser_as: BrowserAs, copies: list[int]
) -> None:
    page = browser_as("viewer").get(f"/d/pets/duplicates?after={9 * 10**30}-5")
    assert (page.status_code, "To the first" in page.get_data(as_text=True)) == (200, False)


@pytest.fixture
def families(database: Database) -> dict[str, int]:
    """Near: three cats (two of them equal), sure, without conflict; four dogs and an owl, unsure. Exact: two owls."""
    with database.write() as session:
        dataset = make_pets(session, per_class=6)
        images = pets_by_path(session)
        images["cat/1.png"].pixel_sha256 = images["cat/0.png"].pixel_sha256
        images["owl/5.png"].pixel_sha256 = images["owl/3.png"].pixel_sha256
        session.flush()
        duplicates.refresh_exact_groups(session, dataset)
        cats = [images[f"cat/{number}.png"].id for number in (0, 1, 2)]
        dogs = [*(images[f"dog/{number}.png"].id for number in (0, 1, 2, 3)), images["owl/0.png"].id]
        duplicates.refresh_near_groups(
            session, dataset, [FoundGroup(cats, score=1, p=0.995), FoundGroup(dogs, score=0.8, p=0.7)]
        )
        changed = {"mirrored": True, "zoom": 1.1, "aspect": 1, "rotation": 0, "shift": [0, 0], "gain": 1, "offset": 9}
        for one, other, how, chance, transform in (
            (cats[0], cats[2], "hashes", 0.995, changed), (dogs[1], dogs[2], "features", 0.7, {"mirrored": False}),
            (dogs[0], dogs[1], "hashes", 0.9, None),
        ):  # fmt: skip
            pair = {"a_id": one, "b_id": other, "how": how, "score": 1, "p": chance, "transform": transform}
            session.add(DuplicatePair(dataset_id=dataset.id, **pair))
    return {"cats": group_with(database, "cat/2.png"), "dogs": group_with(database, "dog/0.png")}


def tiles(page: str) -> list[int]:
    return [int(found.replace(",", "")) for found in re.findall(r'class="figure">([\d,]+)<', page)]


def test_tiles_say_what_the_list_holds_and_the_offers_what_the_preview_does(
    browser_as: BrowserAs, families: dict[str, int]
) -> None:
    lead = browser_as("lead")
    every = lead.get("/d/pets/duplicates").get_data(as_text=True)
    assert (tiles(every), every.count('class="group"')) == ([3, 1, 2, 0], 3)
    assert "7 images could go" in every
    assert "<strong>2 exact groups</strong> agree on the label, 1 of them inside near groups" in every
    assert "<strong>1 near group</strong> with P(same) from 0.99 agrees on the label" in every
    exact = lead.get("/d/pets/duplicates?kind=exact").get_data(as_text=True)
    assert (tiles(exact), exact.count('class="group"')) == ([2, 0, 1, 0], 2)
    assert ("exact groups</strong>" in exact, "near group</strong>" in exact) == (True, False)
    near = lead.get("/d/pets/duplicates?kind=near").get_data(as_text=True)
    assert (tiles(near), near.count('class="group"')) == ([2, 1, 2, 0], 2)
    assert ("exact groups</strong>" in near, "near group</strong>" in near) == (False, True)

    assert "Keep 2, exclude 2?" in lead.get("/d/pets/duplicates/bulk").get_data(as_text=True)
    assert "Keep 1, exclude 2?" in lead.get("/d/pets/duplicates/bulk?which=near&min_p=0.99").get_data(as_text=True)
    assert "Keep 2, exclude 3?" in lead.get("/d/pets/duplicates/bulk?which=both&min_p=0.99").get_data(as_text=True)


def test_the_list_is_narrowed_by_certainty_and_change(browser_as: BrowserAs, families: dict[str, int]) -> None:
    viewer = browser_as("viewer")
    mirrored = viewer.get("/d/pets/duplicates?change=mirrored").get_data(as_text=True)
    assert (tiles(mirrored), f">Group {families['cats']}: " in mirrored) == ([1, 0, 1, 0], True)
    unsure = viewer.get("/d/pets/duplicates?p=70&kind=near").get_data(as_text=True)
    assert (tiles(unsure), f">Group {families['dogs']}: " in unsure) == ([1, 1, 1, 0], True)
    assert 'href="/d/pets/duplicates?show=conflicting&amp;kind=near&amp;p=70"' in unsure
    none = viewer.get("/d/pets/duplicates?p=90").get_data(as_text=True)
    assert "No group matches" in none
    assert "Clear the filters" in none
    assert viewer.get("/d/pets/duplicates?p=12&change=odd").status_code == 200


def test_a_bulk_of_near_groups_is_settled_from_the_certainty_that_was_previewed(
    browser_as: BrowserAs, database: Database, families: dict[str, int]
) -> None:
    lead = browser_as("lead")
    for given in ("2", "0.2", "x", ""):
        refused = lead.get(f"/d/pets/duplicates/bulk?which=near&min_p={given}")
        assert refused.status_code == 422
        assert "P must be a number from 0.5 to 1." in refused.get_data(as_text=True)
    preview = lead.get("/d/pets/duplicates/bulk?which=both&min_p=0.5").get_data(as_text=True)
    assert "P(same) 0.995" in preview
    assert f'href="/d/pets/duplicates/{families["dogs"]}"' not in preview  # its labels differ
    up_to = re.search(r'name="up_to" value="(\d+)"', preview)
    assert up_to is not None
    form = {"which": "both", "min_p": "0.5", "up_to": up_to[1], "action": "c" * 32}
    lead.post("/d/pets/duplicates/bulk", form)
    page = lead.get("/d/pets/duplicates").get_data(as_text=True)
    assert "2 groups settled. z takes all of it back." in page
    assert sorted(statuses(database).values()).count("excluded") == 3
    again = lead.post("/d/pets/duplicates/bulk", {"which": "near"})
    assert (again.status_code, "no open group of this kind" in again.get_data(as_text=True)) == (422, True)
    lead.post(f"/d/pets/duplicates/{families['cats']}/undo")
    assert set(statuses(database).values()) == {"active"}


def test_pairs_are_listed_weakest_first_with_how_they_were_found(
    browser_as: BrowserAs, families: dict[str, int]
) -> None:
    viewer = browser_as("viewer")
    cats = viewer.get(f"/d/pets/duplicates/{families['cats']}").get_data(as_text=True)
    assert "mirrored, shown 10\u00a0% larger, brighter" in cats
    assert re.findall(r'title="P\(same picture\)">([\d.]+)<', cats) == ["0.995", "1.00"]
    assert cats.index("found by hashes") < cats.index("equal pixels")
    dogs = viewer.get(f"/d/pets/duplicates/{families['dogs']}").get_data(as_text=True)
    assert re.findall(r"<b>(\d · \d)</b></button><span>([a-z ]+)", dogs) == [
        ("1 · 3", "found by features"), ("2 · 1", "found by hashes"),
    ]  # fmt: skip


def test_one_of_a_group_is_another_picture_and_the_rest_is_settled(
    browser_as: BrowserAs, database: Database, families: dict[str, int]
) -> None:
    reviewer = browser_as("reviewer")
    url = f"/d/pets/duplicates/{families['dogs']}"
    with database.read() as session:
        ids = {path: image.id for path, image in pets_by_path(session).items()}
    form = {"verdict": "keep_best", "keep_id": ids["dog/1.png"], "apart": ids["owl/0.png"]}
    refused = reviewer.post(url, {**form, "keep_id": ids["owl/0.png"]})
    page = refused.get_data(as_text=True)
    assert (refused.status_code, "marked as another picture" in page) == (422, True)
    assert re.search(rf'name="apart" value="{ids["owl/0.png"]}" [^>]* checked', page)  # what was ticked stays ticked

    answer = reviewer.post(url, form)
    said = reviewer.get(answer.location).get_data(as_text=True)
    assert "1 image noted as another picture. z undoes it." in said
    assert [path for path, status in statuses(database).items() if status == "excluded"] == [
        f"dog/{number}.png" for number in (0, 2, 3)
    ]
    settled = reviewer.get(url).get_data(as_text=True)
    assert "One kept, the others excluded</strong>, but image 5 is another picture" in settled
    reviewer.post(f"{url}/undo")
    assert set(statuses(database).values()) == {"active"}


def test_the_others_labels_become_votes_where_labels_conflict(
    browser_as: BrowserAs, database: Database, families: dict[str, int]
) -> None:
    reviewer = browser_as("reviewer")
    dogs, cats = (f"/d/pets/duplicates/{families[name]}" for name in ("dogs", "cats"))
    assert re.search(r'name="carry" value="yes" checked', reviewer.get(dogs).get_data(as_text=True))
    assert not re.search(r'name="carry" value="yes" checked', reviewer.get(cats).get_data(as_text=True))
    with database.read() as session:
        keep_id = pets_by_path(session)["dog/0.png"].id
    reviewer.post(dogs, {"verdict": "keep_best", "keep_id": keep_id, "carry": "yes"})
    assert "dog 4 · owl 1" in reviewer.get(dogs).get_data(as_text=True)
    assert ">dog</span>" in reviewer.get(f"/d/pets/images/{keep_id}").get_data(as_text=True)
    reviewer.post(f"{dogs}/undo")
    assert "dog 4" not in reviewer.get(dogs).get_data(as_text=True)


def test_attributes_and_sources_stand_under_each_image_and_what_differs_is_marked(
    browser_as: BrowserAs, database: Database, families: dict[str, int]
) -> None:
    with database.write() as session:
        images = pets_by_path(session)
        for number, camera in enumerate("ABA"):
            session.add(Attribute(image_id=images[f"cat/{number}.png"].id, name="camera", value=camera))
            session.add(Attribute(image_id=images[f"cat/{number}.png"].id, name="age", value="7"))
    page = browser_as("viewer").get(f"/d/pets/duplicates/{families['cats']}").get_data(as_text=True)
    assert len(re.findall(r'class="fact differs[^>]*><dt>Camera', page)) == 3
    assert len(re.findall(r'class="fact  [^>]*><dt>Age', page)) == 3
    assert page.count('<span class="meta">drawn</span>') == 3


def test_the_page_of_a_group_costs_the_same_for_two_and_five_images(
    browser_as: BrowserAs, database: Database, families: dict[str, int]
) -> None:
    viewer = browser_as("viewer")
    with counted(database) as five:
        viewer.get(f"/d/pets/duplicates/{families['dogs']}")
    with counted(database) as three:
        viewer.get(f"/d/pets/duplicates/{families['cats']}")
    assert len(five) == len(three)


def test_who_may_not_is_refused(browser_as: BrowserAs, copies: list[int]) -> None:
    viewer, reviewer = browser_as("viewer"), browser_as("reviewer")
    assert viewer.post(f"/d/pets/duplicates/{copies[0]}", {"verdict": "keep_all"}).status_code == 403
    assert viewer.post(f"/d/pets/duplicates/{copies[0]}/undo").status_code == 403
    assert reviewer.get("/d/pets/duplicates/bulk").status_code == 403
    assert reviewer.post("/d/pets/duplicates/bulk").status_code == 403
    assert reviewer.post("/d/pets/duplicates/scan").status_code == 403


def test_a_scan_is_asked_for_once_and_its_progress_shown(
    browser_as: BrowserAs, database: Database, copies: list[int]
) -> None:
    lead = browser_as("lead")
    assert lead.post("/d/pets/duplicates/scan").status_code == 303
    lead.post("/d/pets/duplicates/scan")
    with database.read() as session:
        assert [(job.kind, job.status) for job in session.scalars(select(Job))] == [("scan", "queued")]
    assert "waiting for the worker" in lead.get("/d/pets/duplicates").get_data(as_text=True)
    fragment = lead.get("/d/pets/duplicates/scan", htmx=True).get_data(as_text=True)
    assert fragment.lstrip().startswith('<div id="scan_state"')
    with database.write() as session:
        for job in session.scalars(select(Job)):
            job.status = "done"
    assert lead.get("/d/pets/duplicates/scan", htmx=True).headers["HX-Redirect"] == "/d/pets/duplicates"


def test_images_of_a_group_are_shown_at_one_whole_scale() -> None:
    small, wide, huge = Image(width=48, height=48), Image(width=96, height=48), Image(width=1000, height=528)
    assert fit_scale([small], side_px=240) == 5
    assert fit_scale([small, wide], side_px=240) == 2
    assert fit_scale([small, huge], side_px=240) == 0.24


def member(number: int, label: int | None = 1, **facts: object) -> Member:
    image = Image(
        id=number, label_id=label, label_source="imported", status="active", width=8, height=8, split="train",
        path=f"a/{number}.png", size_bytes=9, pixel_sha256="x", file_sha256="x", mode="L",
    )  # fmt: skip
    for name, value in facts.items():
        setattr(image, name, value)
    return Member(number, image, [], {}, "drawn", apart=False, width=8, height=8)


def row(member: Member) -> MemberRow:
    return MemberRow(1, *(getattr(member.image, name) for name in MemberRow._fields[1:]))


def test_the_class_suggested_follows_votes_then_labels_then_the_model_then_the_image_kept() -> None:
    cat, dog = (
        Class(id=number, name=name, retired=False, merged_into_id=None) for number, name in ((1, "cat"), (2, "dog"))
    )
    members = [member(1, 1), member(2, 2), member(3, 2)]

    def suggested(members: list[Member], cast: Counter[int], classes: list[Class]) -> tuple[int | None, str]:
        found = suggest([row(each) for each in members], members[0].image.id, cast, classes, members)
        return found.class_id, found.why

    assert suggested(members, Counter(), [cat, dog]) == (2, "2 of 3 labels")
    assert suggested(members[:2], Counter(), [cat, dog]) == (1, "the label of the image kept")
    assert suggested(members, Counter({1: 7}), [cat, dog]) == (1, "7 of 7 votes")
    assert suggested(members[:1], Counter({1: 7}), [dog])[0] is None  # its own class is not open
    seen = [member(1, 1, predicted_id=2), member(2, 2)]
    assert suggested(seen, Counter(), [cat, dog]) == (2, "as the model sees it")


def test_facts_that_differ_are_found() -> None:
    one, two = member(1), member(2, path="b/2.png", height=9)
    assert find_differing([one, two]) == {"from", "size"}
    assert find_differing([one]) == set()
    assert find_differing([one, replace(one, attributes={"camera": "A"})]) == {"attribute camera"}


def test_a_picture_that_is_there_a_thousand_times_makes_a_page_like_any_other(
    browser_as: BrowserAs, database: Database
) -> None:
    with database.write() as session:
        dataset = make_pets(session, per_class=400)
        for image in session.scalars(select(Image)):
            image.pixel_sha256 = "f" * 64
        session.flush()
        duplicates.refresh_exact_groups(session, dataset)
    lead = browser_as("lead")
    page = lead.get("/d/pets/duplicates/1").get_data(as_text=True)
    assert "1,140 more copies not shown; the verdict counts for all of them." in page
    assert page.count("/thumbnail/") + page.count("/full") < 400
    assert lead.post("/d/pets/duplicates/1", {"verdict": "keep_all"}).status_code == 303


def test_a_number_too_large_for_the_database_names_no_page(browser_as: BrowserAs, database: Database) -> None:
    with database.write() as session:
        make_pets(session)
    answer = browser_as("viewer").get("/d/pets/duplicates/" + "9" * 26)
    assert answer.status_code == 404
    assert "too large" in answer.get_data(as_text=True)
