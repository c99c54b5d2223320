"""`workbench scan`, `workbench duplicates`, `workbench split`: documented keys, exit status, sentences."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands import Answer, call
from tests.gallery import make_gallery
from tests.test_duplicates import images_of
from workbench.config import Home
from workbench.db import Database
from workbench.services import duplicates

Run = Callable[..., Answer]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, home: Home) -> Run:
    return lambda *arguments: call(capsys, monkeypatch, *arguments, "--home", home.root)


@pytest.fixture
def gallery(database: Database, home: Home) -> int:
    """The id of its first image; exact groups are there, as after an import."""
    with database.write() as session:
        dataset = make_gallery(session, home)
        duplicates.refresh_exact_groups(session, dataset)
        return images_of(session, dataset)[0].id


def test_exact_groups_are_listed_before_any_scan(run: Run, gallery: int) -> None:
    answer = run("duplicates", "--dataset", "gallery", "--kind", "exact", "--json")

    assert answer.status == 0
    document = answer.document
    assert {key: document[key] for key in ("images", "redundant", "spanning", "conflicting")} == {
        "images": 2, "redundant": 1, "spanning": 0, "conflicting": 0,
    }  # fmt: skip
    (group,) = document["groups"]
    assert (group["kind"], group["score"], group["p"]) == ("exact", 1.0, 1.0)
    first = group["images"][0]
    assert {key: first[key] for key in ("id", "path", "label", "split")} == {
        "id": gallery, "path": "00.png", "label": None, "split": "train",
    }  # fmt: skip


def test_a_scan_adds_the_near_group_and_min_p_filters(run: Run, gallery: int) -> None:
    answer = run("scan", "duplicates", "--dataset", "gallery", "--json")
    assert answer.status == 0
    assert answer.document["scans"]["duplicates"]["near_groups"] == 1

    groups = run("duplicates", "--dataset", "gallery", "--kind", "near", "--json").document["groups"]
    assert [[image["path"] for image in group["images"]] for group in groups] == [
        ["00.png", "40.png", "41.png", "42.png", "43.png"]
    ]
    pairs = groups[0]["pairs"]
    assert set(pairs[0]) == {"a", "b", "how", "p", "transform", "words"}
    assert [pair["p"] for pair in pairs] == sorted(pair["p"] for pair in pairs)
    assert {pair["words"] for pair in pairs if pair["transform"]["mirrored"]}.isdisjoint({""})
    assert len(run("duplicates", "--dataset", "gallery", "--json").document["groups"]) == 1
    near = run("duplicates", "--dataset", "gallery", "--kind", "near", "--min-p", "1", "--json")
    assert near.document["groups"] == []
    assert "1 groups of 5 images, 4 of them redundant" in run("duplicates", "--dataset", "gallery").out


def test_scan_all_runs_what_the_data_set_allows(run: Run, gallery: int) -> None:
    scans = run("scan", "all", "--dataset", "gallery", "--json").document["scans"]
    assert list(scans) == ["duplicates", "quality", "faces"]
    assert run("scan", "colours", "--dataset", "gallery").status == 2
    assert run("duplicates", "--dataset", "gallery", "--min-p", "2").status == 2


@pytest.mark.parametrize("command", [("scan", "duplicates"), ("duplicates",)])
def test_an_unknown_data_set_is_named(run: Run, database: Database, command: tuple[str, ...]) -> None:
    answer = run(*command, "--dataset", "nothing")
    assert answer.status == 1
    assert "There is no data set “nothing”" in answer.err


def test_split_keeps_the_near_group_together(run: Run, gallery: int, home: Home) -> None:
    run("scan", "duplicates", "--dataset", "gallery")
    shares = ("--train", "0.8", "--validation", "0.1", "--test", "0.1")
    answer = run("split", "--dataset", "gallery", *shares, "--json")

    assert answer.status == 0
    assert set(answer.document) >= {"dataset", "splits", "changed", "groups_kept"}
    assert sum(answer.document["splits"].values()) == 46
    assert answer.document["groups_kept"] == 1
    assert run("duplicates", "--dataset", "gallery", "--json").document["spanning"] == 0
    refused = run("split", "--dataset", "gallery", *shares[:-1], "0.3")
    assert (refused.status, refused.err.count("\n")) == (1, 1)
    assert "must add up to 1" in refused.err
    assert Path(home.database).exists()
