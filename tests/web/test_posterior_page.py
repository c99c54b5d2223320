"""What the posterior would change: listed by pair and image, filtered, overruled and left to it again."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from sqlalchemy import event, select

from tests.conftest import Browser, make_pets
from tests.trained_runs import add_run
from workbench.config import Home
from workbench.db import Database
from workbench.models import Dataset, Image, User
from workbench.queries import datasets
from workbench.services import decisions, users
from workbench.services.posteriors import Posteriors, save_posteriors
from workbench.services.predictions import load_predictions

AT = "/d/pets/posterior"


def plant(database: Database, home: Home, *, doubted: int, per_class: int = 3) -> None:
    """A promoted run, and a posterior that says dog of the first `doubted` cats, with falling P."""
    with database.write() as session:
        pets = make_pets(session, per_class=per_class)
        run = add_run(session, home, dataset=pets, user=users.ensure_admin(session), folds=2)
        pets.promoted_run_id = run.id
        classes = {cls.name: cls.id for cls in datasets.list_classes(session, pets.id)}
        images = list(session.scalars(select(Image).order_by(Image.id)))
        said = load_predictions(home, run.id)
        columns = said.class_ids.tolist()
        cat, dog = columns.index(classes["cat"]), columns.index(classes["dog"])
        probs = np.zeros((len(images), len(columns)))
        for row, image in enumerate(images):
            probs[row, columns.index(image.label_id)] = 1
        for place, row in enumerate([row for row, image in enumerate(images) if image.label_id == classes["cat"]]):
            if place < doubted:
                probs[row] = 0
                probs[row, [dog, cat]] = 0.9 - 0.1 * place, 0.1 + 0.1 * place
        labels = [columns.index(image.label_id) for image in images]
        p_wrong = 1 - probs[np.arange(len(images)), labels]
        for image, value in zip(images, p_wrong, strict=True):
            image.p_wrong = float(value)
        counts = np.zeros((len(columns), len(columns) + 1), np.int64)
        counts[cat, [cat, dog]] = 4, 7
        save_posteriors(
            home,
            run.id,
            Posteriors(
                image_ids=said.image_ids,
                probs=probs.astype(np.float16),
                p_wrong=p_wrong.astype(np.float32),
                p_ambiguous=np.zeros(len(images), np.float32),
                suggested=probs.argmax(1),
                class_ids=said.class_ids,
                decision_id=1,
                verdicts=60,
                random_verdicts=20,
                shrinkage=0.0,
                said=counts,
            ),
        )


@contextmanager
def count_statements(database: Database) -> Iterator[list[str]]:
    statements: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if statement.startswith("SELECT"):
            statements.append(statement)

    event.listen(database.reader, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(database.reader, "before_cursor_execute", note)


def first_cat(database: Database) -> Image:
    with database.read() as session:
        return session.scalars(select(Image).where(Image.p_wrong > 0.5).order_by(Image.id).limit(1)).one()


def is_kept(database: Database, image_id: int) -> bool:
    with database.read() as session:
        return session.get_one(Image, image_id).keeps_label


@pytest.mark.parametrize("doubted", [0, 1, 3])
def test_it_lists_what_would_change(
    database: Database, home: Home, browser_as: Callable[[str], Browser], doubted: int
) -> None:
    plant(database, home, doubted=doubted)
    browser = browser_as("lead")
    assert browser.get(f"{AT}?split=any").text.count("labelled cat, would teach dog") == doubted
    words, teaching = browser.get(AT).text, (doubted + 1) // 2  # every other image is in train
    assert words.count("labelled cat, would teach dog") == teaching
    if doubted == 0:
        assert "It would change nothing" in words
    else:
        assert f"{teaching} image{'s' if teaching > 1 else ''}</strong> of train that nobody has decided on" in words
        assert "60 verdicts (20 on images drawn at random)" in words
        assert words.index("would teach dog with 0.9") > 0


@pytest.mark.parametrize("doubted", [1, 3])
def test_it_costs_the_same_however_many(
    database: Database, home: Home, browser_as: Callable[[str], Browser], doubted: int
) -> None:
    plant(database, home, doubted=doubted)
    browser = browser_as("lead")
    browser.get(AT)
    with count_statements(database) as counted:
        browser.get(AT)
    assert len(counted) == 6


def test_without_a_run_or_verdicts_it_says_what_is_missing(
    database: Database, home: Home, browser_as: Callable[[str], Browser]
) -> None:
    with database.write() as session:
        pets = make_pets(session)
    browser = browser_as("lead")
    assert "No run is promoted yet" in browser.get(AT).text
    with database.write() as session:
        pets = session.get_one(Dataset, pets.id)
        pets.promoted_run_id = add_run(session, home, dataset=pets, user=users.ensure_admin(session)).id
    assert "Nothing was learned about run 1 yet" in browser.get(AT).text


def test_filters_narrow_it(database: Database, home: Home, browser_as: Callable[[str], Browser]) -> None:
    plant(database, home, doubted=3)
    browser = browser_as("lead")
    assert browser.get(f"{AT}?split=any&p_from=0.75").text.count("would teach dog with") == 2
    assert browser.get(f"{AT}?split=any&p_from=nonsense").text.count("would teach dog with") == 3
    assert "No image matches" in browser.get(f"{AT}?kept=yes").text
    assert "No image matches" in browser.get(f"{AT}?given=999").text


def test_a_lead_overrules_it_and_takes_it_back(
    database: Database, home: Home, browser_as: Callable[[str], Browser]
) -> None:
    plant(database, home, doubted=3)
    browser, image = browser_as("lead"), first_cat(database)
    assert browser.post(f"{AT}/keep", {"image": image.id, "verb": "keep"}).status_code == 303
    words = browser.get(AT).text
    assert "1 image will teach their given label" in words or "1 image will teach its given label" in words
    assert is_kept(database, image.id)
    assert "A lead overruled it on 1." in words
    assert browser.get(f"{AT}?kept=yes").text.count("would teach dog with") == 1
    assert "kept its label from the posterior" in browser.get("/d/pets/history").text
    browser.post(f"{AT}/keep", {"image": image.id, "verb": "release"})
    assert not is_kept(database, image.id)
    with database.write() as session:
        pets = session.get_one(Dataset, image.dataset_id)
        decisions.undo_last(
            session, dataset=pets, user=session.scalars(select(User).where(User.name == "some-lead")).one()
        )
    assert is_kept(database, image.id)


def test_all_that_match_are_one_action(database: Database, home: Home, browser_as: Callable[[str], Browser]) -> None:
    plant(database, home, doubted=3)
    browser = browser_as("lead")
    browser.post(f"{AT}/keep?split=any&p_from=0.75", {"everything": "yes", "verb": "keep"})
    assert "A lead overruled it on 2." in browser.get(f"{AT}?split=any").text
    assert "kept the labels of 2 images from the posterior" in browser.get("/d/pets/history").text
    refused = browser.post(f"{AT}/keep", {"verb": "keep"})
    assert refused.status_code == 422
    assert "Tick at least one image." in refused.text


def test_reviewers_see_it_and_overrule_nothing(
    database: Database, home: Home, browser_as: Callable[[str], Browser]
) -> None:
    plant(database, home, doubted=1)
    browser, image = browser_as("reviewer"), first_cat(database)
    assert "Keep the given labels" not in browser.get(AT).text
    assert browser.post(f"{AT}/keep", {"image": image.id}).status_code == 403


def test_the_page_of_an_image_says_why_and_a_lead_overrules_there(
    database: Database, home: Home, browser_as: Callable[[str], Browser]
) -> None:
    plant(database, home, doubted=1)
    browser, image = browser_as("lead"), first_cat(database)
    words = browser.get(f"/d/pets/images/{image.id}").text
    assert "Of 11 images labelled cat that reviewers looked at, 7 were something else, most often dog (7)." in words
    answer = browser.post(f"{AT}/keep", {"image": image.id, "back": image.id, "verb": "keep"})
    assert answer.headers["Location"].endswith(f"/d/pets/images/{image.id}")
    assert "A lead keeps its label from the posterior: it teaches cat." in browser.get(answer.headers["Location"]).text
