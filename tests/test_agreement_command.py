"""`workbench agreement`: the figures of the page, for scripts."""

from pathlib import Path

import pytest

from tests.commands import call
from tests.conftest import make_pets
from tests.opinion_queues import ask_several, have_said
from tests.test_json_contract import CONTRACT, faults
from workbench.config import Home
from workbench.db import Database


@pytest.fixture
def asked(database: Database, home: Home) -> Path:
    with database.write() as session:
        dataset = make_pets(session)
        have_said(session, dataset, ask_several(session, dataset), {"anna": "ccddoo", "ben": "cdddox"}, seconds=2.0)
    return home.root


def test_it_says_what_the_page_says(
    asked: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = call(capsys, monkeypatch, "agreement", "--dataset", "pets", "--home", asked, "--json").document
    assert faults(found, CONTRACT["agreement"], at="agreement") == []
    assert (found["images"], found["opinions"], found["disputed"], found["source"]) == (6, 12, 2, "blind")
    assert found["pairs"][0]["observed"]["value"] == pytest.approx(4 / 6)
    assert [(one["name"], one["opinions"], one["seconds"]) for one in found["reviewers"]] == [
        ("anna", 6, 2.0),
        ("ben", 6, 2.0),
    ]
    assert found["confused"] == [
        {"one": "cat", "other": "dog", "images": 1},
        {"one": "owl", "other": "exclude", "images": 1},
    ]


def test_in_words(asked: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    out = call(capsys, monkeypatch, "agreement", "--dataset", "pets", "--home", asked).out
    assert out.startswith("pets: alpha 0.56 [")
    assert "2 reviewers, 12 opinions, 2 images disputed" in out
    assert "anna and ben: kappa 0.54 [" in out
    assert "gold – (none yet)" in out


def test_an_unknown_source_is_wrong_usage(
    asked: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = call(capsys, monkeypatch, "agreement", "--dataset", "pets", "--home", asked, "--source", "some")
    assert (answer.status, "blind" in answer.err) == (2, True)
