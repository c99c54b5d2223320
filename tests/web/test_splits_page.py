"""The splits page: what leaks, what it does, where images stand; the builder with its preview; freezing."""

from collections.abc import Callable

import pytest
from sqlalchemy import event, select
from sqlalchemy.orm import Session

from tests.conftest import Browser, make_pets
from tests.trained_runs import add_run
from workbench.config import Home
from workbench.db import Database
from workbench.models import Attribute, Dataset, DuplicatePair, Image, Job, User
from workbench.queries import datasets
from workbench.services import decisions, duplicates, freezing, queue_plans, queues, splits, users
from workbench.services.decisions import Line
from workbench.services.splits import SplitRequest

BrowserAs = Callable[[str], Browser]
FORM = {"train": "60", "validation": "20", "test": "20"}


def text_of(browser: Browser, url: str) -> str:
    return " ".join(browser.get(url).get_data(as_text=True).split())


@pytest.fixture
def pets_there(database: Database, home: Home) -> None:
    """Ten of each class, half in train and half in test; one image of test has an exact copy in train, one a near."""
    with database.write() as session:
        dataset = make_pets(session, per_class=10)
        images = list_images(session, dataset)
        images[0].pixel_sha256 = images[1].pixel_sha256
        pair = {"a_id": images[12].id, "b_id": images[13].id, "how": "hashes", "score": 0.9, "evidence": 0.0}
        session.add(DuplicatePair(dataset_id=dataset.id, p=0.9, **pair))
        session.flush()
        duplicates.refresh_exact_groups(session, dataset)
        add_run(session, home, dataset=dataset, user=users.ensure_admin(session), mistakes={"dog/5.png": "cat"})
        dataset.promoted_run_id = 1


def list_images(session: Session, dataset: Dataset) -> list[Image]:
    return list(session.scalars(select(Image).where(Image.dataset_id == dataset.id).order_by(Image.id)))


def get_pets(session: Session) -> Dataset:
    return datasets.get_dataset(session, "pets")


def get_alice(session: Session) -> User:
    return users.ensure_user(session, "alice", role="lead")


def test_the_leak_its_classes_and_its_effect_are_told(pets_there: None, browser_as: BrowserAs) -> None:
    page = text_of(browser_as("viewer"), "/d/pets/splits")
    assert "15 train · 15 test" in page
    assert (
        '<span class="figure bad">2</span> <span>of 15 images of test have a copy in train · 13.3 % · 1 exact, 1 near'
        in page
    )
    assert "near copies were not looked for yet" in page
    assert "Run 1</a> was trained on 14 images. 1 of train were left out" in page
    assert "1 of the images measured on has a near copy that was not." in page
    assert "Without the leaked images the accuracy of run 1 is <strong>92.9 %</strong> instead of 93.3 %" in page
    assert "no more than chance would make" in page
    assert "Build splits anew" not in page  # a viewer only looks
    assert "Freeze test</button>" not in page


def test_a_data_set_without_images_splits_or_runs_says_what_to_do(database: Database, browser_as: BrowserAs) -> None:
    with database.write() as session:
        datasets_of = make_pets(session, per_class=1, name="bare")
        for image in list_images(session, datasets_of):
            image.split = None
        from workbench.services.datasets import ensure_dataset

        ensure_dataset(session, "empty")
    lead = browser_as("lead")
    assert "Splits are built on the images" in text_of(lead, "/d/empty/splits")
    page = text_of(lead, "/d/bare/splits")
    assert "There is no validation or test split" in page
    assert "no split to freeze" in page or "no test or validation split to freeze" in page


@pytest.mark.parametrize("per_class", [1, 3])
def test_the_page_costs_the_same_number_of_queries(database: Database, browser_as: BrowserAs, per_class: int) -> None:
    with database.write() as session:
        make_pets(session, per_class=per_class)
    browser = browser_as("lead")
    counted: list[str] = []
    event.listen(database.reader, "before_cursor_execute", lambda c, cu, statement, *rest: counted.append(statement))
    browser.get("/d/pets/splits")
    assert sum(statement.startswith("SELECT") for statement in counted) <= 17


# --- building ---------------------------------------------------------------------------------------------------


def test_a_preview_says_what_would_move_and_writes_nothing(
    pets_there: None, database: Database, browser_as: BrowserAs
) -> None:
    page = text_of(browser_as("lead"), "/d/pets/splits/preview?train=60&validation=20&test=20&seed=3")
    assert "<strong>18</strong> train" in page
    assert "2 groups of copies stay together; the largest holds 2 images" in page
    assert "one undo in the history takes all of it back" in page
    assert '<input type="hidden" name="seed" value="3">' in page
    with database.read() as session:
        asked = SplitRequest(0.6, 0.2, 0.2, seed=3)
        plan = splits.plan_split(session, dataset=get_pets(session), request=asked)
        assert f"Move {len(plan.wanted)} images?" in page
        assert f'name="stamp" value="{plan.stamp}"' in page
        assert session.scalars(select(Job)).all() == []


def test_excluded_images_are_counted_in_no_sum(database: Database, browser_as: BrowserAs) -> None:
    with database.write() as session:
        dataset = make_pets(session, per_class=10)
        lines = [Line("exclude", image.id) for image in list_images(session, dataset)[:4]]
        decisions.submit(session, dataset=dataset, user=get_alice(session), lines=lines)
    lead = browser_as("lead")
    assert "13 train · 13 test · 4 excluded" in text_of(lead, "/d/pets/splits")
    page = text_of(lead, "/d/pets/splits/preview?train=50&validation=0&test=50")
    assert '<strong>13</strong> train <span class="meta">now 13</span>' in page
    assert "4 excluded images go with their copies and are not counted." in page


def test_building_is_a_job_that_knows_what_was_shown(database: Database, browser_as: BrowserAs) -> None:
    with database.write() as session:
        dataset = make_pets(session, per_class=10)
        for image in list_images(session, dataset):
            session.add(Attribute(image_id=image.id, name="camera", value="left"))
    lead = browser_as("lead")
    answer = lead.post("/d/pets/splits", {**FORM, "by": "camera", "stamp": "abc", "family_pattern": " (.+)_x "})
    assert answer.status_code == 303
    with database.read() as session:
        job = session.scalars(select(Job)).one()
        assert (job.kind, job.params) == (
            "split",
            {
                "dataset": "pets", "train": 0.6, "validation": 0.2, "test": 0.2, "seed": 0, "by": ["camera"],
                "family_pattern": "(.+)_x", "stamp": "abc",
            },
        )  # fmt: skip
    assert f"/jobs/{job.id}" in answer.location


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ({"train": "90"}, "%; they must add up to 100 %"), ({"train": "many"}, "From 0 to 100"),
        ({"seed": "-1"}, "A whole number"), ({"family_pattern": "("}, "not a regular expression"),
        ({"by": "camera"}, "has an attribute"),
    ],
)  # fmt: skip
def test_what_cannot_be_built_is_said_beside_what_was_typed(
    pets_there: None, browser_as: BrowserAs, typed: dict[str, str], words: str
) -> None:
    answer = browser_as("lead").get("/d/pets/splits/preview", query_string={**FORM, **typed})
    page = answer.get_data(as_text=True)
    assert (answer.status_code, words in page) == (422, True)
    assert all(value in page for value in typed.values() if value != "camera")


def test_the_default_shares_add_up_and_the_post_checks_them(
    pets_there: None, database: Database, browser_as: BrowserAs
) -> None:
    lead = browser_as("lead")
    assert lead.post("/d/pets/splits", {"train": "0.9"}).status_code == 422
    assert browser_as("reviewer").post("/d/pets/splits").status_code == 403
    assert lead.post("/d/pets/splits").status_code == 303
    with database.read() as session:
        params = session.scalars(select(Job)).one().params
        assert [params[name] for name in ("train", "validation", "test")] == [0.8, 0.1, 0.1]


# --- freezing ---------------------------------------------------------------------------------------------------


def test_a_lead_freezes_and_unfreezes_and_everybody_reads_why(
    pets_there: None, database: Database, browser_as: BrowserAs
) -> None:
    lead = browser_as("lead")
    assert lead.post("/d/pets/splits/freeze", {"reason": "ready"}).status_code == 303
    page = text_of(browser_as("viewer"), "/d/pets/splits")
    assert "Test is frozen" in page
    assert 'some-lead</b> froze test <span class="meta">just now, 15 images: ready' in page
    assert 'name="keep" value="yes" checked' in text_of(lead, "/d/pets/splits")
    assert "some-lead</b> froze test" in text_of(lead, "/d/pets/history")

    refused = lead.post("/d/pets/splits/unfreeze", {"reason": " "})
    assert (refused.status_code, "Say why it is unfrozen" in refused.get_data(as_text=True)) == (422, True)
    lead.post("/d/pets/splits/unfreeze", {"reason": "a leak was found"})
    assert "unfroze test" in text_of(lead, "/d/pets/splits")
    with database.read() as session:
        assert get_pets(session).frozen_split is None


def test_a_frozen_split_is_kept_by_the_builder_or_the_form_says_so(pets_there: None, browser_as: BrowserAs) -> None:
    lead = browser_as("lead")
    lead.post("/d/pets/splits/freeze")
    assert lead.get("/d/pets/splits/preview", query_string=FORM).status_code == 422
    page = text_of(lead, "/d/pets/splits/preview?train=60&validation=40&keep=yes")
    assert "Test stays as it is. 2 images go into no split: their copies stand in test" in page


def freeze_with_queue(database: Database, home: Home) -> tuple[int, int]:
    """(queue, item): a forced queue of flags, and its item in the frozen split."""
    with database.write() as session:
        dataset = get_pets(session)
        freezing.freeze(session, dataset=dataset, user=get_alice(session))
        plan = queue_plans.plan_queue(session, home, dataset=dataset, recipe="label_issues", force=True)
        queue = queues.open_queue(session, plan)
        from workbench.queries.queues import list_items

        return queue.id, next(item.id for item in list_items(session, queue.id) if item.image.split == "test")


def test_a_card_asks_for_a_reason_and_marks_every_number_after_it(
    pets_there: None, database: Database, home: Home, browser_as: BrowserAs
) -> None:
    queue_id, item_id = freeze_with_queue(database, home)
    lead = browser_as("lead")
    url = f"/d/pets/queues/{queue_id}/items/{item_id}"
    assert "Test is frozen</legend>" in text_of(lead, url)
    for typed in ({}, {"forced": "no box ticked"}, {"force": "yes", "forced": " "}):
        answer = lead.post(f"{url}/decide", {"verdict": "exclude", **typed})
        assert answer.status_code == 422
        assert "which is frozen" in answer.get_data(as_text=True)
    assert "cleaned with a model" not in text_of(lead, "/d/pets/runs/1")

    answer = lead.post(f"{url}/decide", {"verdict": "exclude", "force": "yes", "forced": "not a dog at all"})

    assert answer.status_code == 303
    assert "forced on the frozen test: not a dog at all" in text_of(lead, "/d/pets/history")
    assert "1 label of test was decided with a model's own flags" in text_of(lead, "/d/pets/splits")
    assert "Labels of test were cleaned with a model's own flags" in text_of(lead, "/d/pets/runs/1")


def test_a_sweep_asks_for_a_reason(pets_there: None, database: Database, home: Home, browser_as: BrowserAs) -> None:
    queue_id, item_id = freeze_with_queue(database, home)
    lead = browser_as("lead")
    url = f"/d/pets/queues/{queue_id}/sweep"
    page = text_of(lead, url)
    assert "Test is frozen</legend>" in page
    with database.read() as session:
        from workbench.models import QueueItem

        item = session.get_one(QueueItem, item_id)
        form = {"class_id": item.suggested_id, "item": item_id, f"revision_{item_id}": 0, "action": "one"}
    assert lead.post(url, form).status_code == 422
    assert lead.post(url, {**form, "force": "yes", "forced": "plain"}).status_code == 303


def test_many_images_found_by_a_models_opinion_ask_for_a_reason(
    pets_there: None, database: Database, browser_as: BrowserAs
) -> None:
    with database.write() as session:
        dataset = get_pets(session)
        freezing.freeze(session, dataset=dataset, user=get_alice(session))
        image = next(image for image in list_images(session, dataset) if image.path == "dog/5.png")
        image_id = image.id
    lead = browser_as("lead")
    chosen = {"verdict": "exclude", "image": image_id}
    plain = lead.post("/d/pets/images/bulk", chosen).get_data(as_text=True)
    assert "is frozen" not in plain
    flagged = lead.post("/d/pets/images/bulk?sort=p_wrong", chosen).get_data(as_text=True)
    assert "Test is frozen</legend>" in flagged
    stamp = flagged.split('name="stamp" value="')[1].split('"')[0]
    url = "/d/pets/images/bulk/apply?sort=p_wrong"
    assert lead.post(url, {**chosen, "stamp": stamp}).status_code == 422
    done = lead.post(url, {**chosen, "stamp": stamp, "force": "yes", "forced": "it is blank"})
    assert done.status_code == 303
    with database.read() as session:
        assert get_pets(session).own_flags == {"test": {"since": 2, "images": 1, "reason": "it is blank"}}


def test_home_names_a_leak_and_compare_and_home_the_mark(
    pets_there: None, database: Database, home: Home, browser_as: BrowserAs
) -> None:
    lead = browser_as("lead")
    page = text_of(lead, "/d/pets/")
    assert '1 group of copies stands in several splits.</span> <a href="/d/pets/splits">See what leaks' in page
    queue_id, item_id = freeze_with_queue(database, home)
    url = f"/d/pets/queues/{queue_id}/items/{item_id}/decide"
    lead.post(url, {"verdict": "exclude", "force": "yes", "forced": "not a dog"})
    with database.write() as session:
        dataset = get_pets(session)
        second = add_run(session, home, dataset=dataset, user=get_alice(session))
        second.metrics = {**(second.metrics or {}), "cleaned_with_own_flags": True}
        dataset.promoted_run_id = second.id
    page = text_of(lead, "/d/pets/")
    assert "labels cleaned with a model's own flags" in page
    assert "From run 2 on, labels were cleaned" in page
    assert "cleaned with a model's own flags, so both numbers" in text_of(lead, "/d/pets/compare?a=1&b=2")


def test_undoing_a_build_while_test_is_frozen_says_what_to_do(
    pets_there: None, database: Database, browser_as: BrowserAs
) -> None:
    with database.write() as session:
        dataset, alice = get_pets(session), get_alice(session)
        action = splits.build_split(session, dataset=dataset, user=alice, train=0.6, validation=0.2, test=0.2).action
        freezing.freeze(session, dataset=dataset, user=alice)
    answer = browser_as("lead").post(f"/d/pets/history/{action}/undo")
    assert (answer.status_code, "Unfreeze it first" in answer.get_data(as_text=True)) == (422, True)
    with database.read() as session:
        assert decisions.log.has_action(session, action or "")
