"""`workbench queue build|list|items`: documented keys, exit status, sentences."""

import re
from collections.abc import Callable

import pytest

from tests.commands import Answer, call
from tests.conftest import make_pets
from tests.test_queues import make_run
from tests.test_recipes import PROBS
from workbench.config import Home
from workbench.db import Database
from workbench.services.recipes import RECIPES

Run = Callable[..., Answer]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, home: Home) -> Run:
    return lambda *arguments: call(capsys, monkeypatch, *arguments, "--home", home.root)


@pytest.fixture
def run_id(database: Database, home: Home) -> int:
    with database.write() as session:
        return make_run(session, home, make_pets(session), PROBS, p_wrong=[0.1, 0.75, 0.1, 0.5, 0.1, 0.1]).id


def test_build_list_and_items(run: Run, run_id: int) -> None:
    built = run("queue", "build", "label-issues", "--dataset", "pets", "--limit", "2", "--json")
    assert (built.status, built.document) == (
        0,
        {
            "queue": 1,
            "recipe": "label_issues",
            "size": 2,
            "random": 0,
            "expected_hits": 1.25,
            "without": None,
        },
    )

    (row,) = run("queue", "list", "--dataset", "pets", "--json").document["queues"]
    assert {key: row[key] for key in ("queue", "recipe", "open", "done")} == {
        "queue": 1, "recipe": "label_issues", "open": 2, "done": 0,
    }  # fmt: skip

    document = run("queue", "items", "1", "--json").document
    assert (document["queue"], document["recipe"]) == (1, "label_issues")
    first, second = document["items"]
    assert {key: first[key] for key in ("path", "label", "suggested", "score", "p_wrong")} == {
        "path": "cat/1.png", "label": "cat", "suggested": "dog", "score": 0.75, "p_wrong": 0.75,
    }  # fmt: skip
    assert isinstance(first["image"], int)
    assert first["reason"].startswith("Predicted dog with 0.80")
    assert second["path"] == "dog/1.png"
    assert len(run("queue", "items", "1", "--limit", "1", "--json").document["items"]) == 1
    assert "cat/1.png" in run("queue", "items", "1").out
    assert "2 open" in run("queue", "list", "--dataset", "pets").out


def test_cell_run_and_settings_are_passed_on(run: Run, run_id: int) -> None:
    cell = run("queue", "build", "confusion", "--dataset", "pets", "--cell", "cat:dog", "--run", run_id, "--json")
    assert cell.document["size"] == 1
    margin = run(
        "queue", "build", "uncertain", "--dataset", "pets", "--set", "score=margin", "--set", "split=test", "--json"
    )
    assert margin.document["size"] == 3
    assert run("queue", "build", "random", "--dataset", "pets", "--title", "Audit", "--json").document["size"] == 6
    assert "Audit" in run("queue", "list", "--dataset", "pets").out


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (("build", "magic", "--dataset", "pets"), 1, "is not a recipe"),
        (("build", "uncertain", "--dataset", "dogs"), 1, "There is no data set “dogs”"),
        (("build", "uncertain", "--dataset", "pets", "--run", "9"), 1, "pets has no run 9"),
        (("build", "uncertain", "--dataset", "pets", "--set", "score"), 1, "is not KEY=VALUE"),
        (("build", "uncertain", "--dataset", "pets", "--set", "limit=3"), 1, "use --limit"),
        (("build", "confusion", "--dataset", "pets", "--cell", "cat"), 1, "is not a cell"),
        (("build", "random", "--dataset", "pets", "--limit", "0"), 2, "--limit"),
        (("build", "random", "--dataset", "pets", "--set", "home=here"), 1, "random knows no “home”"),
        (("build", "random", "--dataset", "pets", "--set", "picked=1"), 1, "random knows no “picked”"),
        (("build", "random", "--dataset", "pets", "--set", "seed=-1"), 1, "A seed is a whole number, 0 or more."),
        (("build", "cold-start", "--dataset", "pets", "--set", "seed=-1"), 1, "A seed is a whole number, 0 or more."),
        (("build", "uncertain", "--dataset", "pets", "--run", "9" * 20), 1, "One of these numbers is too large"),
        (("items", "77"), 1, "There is no queue 77"),
    ],
)
def test_refusals_are_one_sentence(
    run: Run, run_id: int, arguments: tuple[str, ...], status: int, sentence: str
) -> None:
    answer = run("queue", *arguments)
    assert (answer.status, answer.out) == (status, "")
    assert sentence in answer.err
    assert run("queue", "list", "--dataset", "pets", "--json").document["queues"] == []


def test_help_names_every_recipe(run: Run) -> None:
    unbroken = re.sub(r"-\s+", "-", run("queue", "build", "--help").out)
    words = set(re.findall(r"[a-z-]+", unbroken))
    assert {name.replace("_", "-") for name in RECIPES} <= words
