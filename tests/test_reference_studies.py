"""The reference projects' tables as saved configurations: a small version of each runs beside the published numbers."""

from pathlib import Path
from typing import Any

import pytest

from tests.drawn import make_stripes
from workbench.config import Home
from workbench.db import open_database
from workbench.services.architectures import ARCHITECTURES, REFERENCE
from workbench.services.study_files import find_document, list_saved, read_plan
from workbench.worker.context import Context
from workbench.worker.studies import start_study

LISTS = ("feeling-it", "feeling-it-original", "facial-emotion-detect", "emotion-recognition", "happy-or-neutral",
         "masked-emotions")  # fmt: skip
SEARCHES = ("feeling-it-grid", "emotion-recognition-search")
# 6 to 140 million parameters: seconds to minutes each; ml/test_architectures.py has their networks
LARGE = ("alexnet", "vgg11", "vgg19_bn", "resnet50", "densenet121", "efficientnet_v2_b0_dense")


@pytest.fixture
def context(tmp_path: Path) -> Any:
    home = Home.at(tmp_path / "home")
    database = open_database(home)
    with database.write() as session:
        make_stripes(session, home, per_class=10)
    yield Context(database, home)
    database.close()


def take_one_of_each(document: dict[str, Any]) -> dict[str, Any]:
    """The study with the first run of each architecture."""
    runs: dict[str, Any] = {}
    for run in document["runs"]:
        if run["arch"] not in LARGE:
            runs.setdefault(run["arch"], run)
    return {**document, "runs": list(runs.values())}


@pytest.mark.parametrize("name", [name for name in LISTS if name != "feeling-it-original"])
def test_a_small_version_of_each_table_runs(context: Context, name: str) -> None:
    document = take_one_of_each(find_document(name))
    found = start_study(context, dataset="stripes", document=document, small=True)
    assert found["status"] == "done"
    for run, planned in zip(found["runs"], document["runs"], strict=True):
        assert (run["name"], run["arch"], run["error"] or "") == (planned["name"], planned["arch"], "")
        assert run["test"]["n"] > 0
        assert run["published"]["accuracy"] == planned["published"]["accuracy"]


@pytest.mark.parametrize("name", SEARCHES)
def test_the_searches_have_the_published_ranges(name: str) -> None:
    plan = read_plan(find_document(name), small=True)
    assert plan.search is not None
    assert plan.search.like.arch in ("vgg10", "three_conv")
    ends = {key: span.ends for key, span in plan.search.ranges.items()}
    assert (
        ends
        == {
            "feeling-it-grid": {"learning_rate": (0.0001, 0.0005, 0.001), "dropout": (0.05, 0.1, 0.2, 0.3)},
            "emotion-recognition-search": {f"widths.{layer}": (32, 256) for layer in range(1, 5)},
        }[name]
    )


def test_a_search_over_widths_runs(context: Context) -> None:
    document = find_document("emotion-recognition-search")
    search = {**document["search"], "runs": 2}
    search["ranges"] = {key: {"low": 2, "high": 8, "step": 2} for key in document["search"]["ranges"]}
    found = start_study(context, dataset="stripes", document={**document, "search": search}, small=True)
    assert (found["status"], len(found["runs"])) == ("done", 2)
    for run in found["runs"]:
        assert set(run["chosen"]) == set(search["ranges"])


def test_every_project_is_there_and_every_network_used() -> None:
    assert set(LISTS) | set(SEARCHES) <= set(list_saved())
    plans = [read_plan(find_document(name)) for name in (*LISTS, *SEARCHES)]
    used = {run.arch for plan in plans for run in plan.runs}
    networks = {each.name for each in ARCHITECTURES.values() if each.family == REFERENCE}
    assert networks - used == {"efficientnet_v2_b0"}  # the published one has a dense layer more
    assert {"alexnet", "vgg11", "vgg19_bn", "resnet18", "resnet50", "densenet121", "ensemble"} <= used
    assert len({plan.source for plan in plans}) == 5


def test_published_recalls_add_up_to_the_published_accuracy() -> None:
    """The counts of the curated test images, from the report: what was copied into the file is what stands there."""
    counts = {"angry": 888, "disgust": 83, "fear": 916, "happy": 1752, "neutral": 1181, "sad": 1088, "surprise": 580}
    for name in ("feeling-it", "feeling-it-original"):
        for run in read_plan(find_document(name)).runs:
            right = sum(counts[cls] * recall for cls, recall in run.published["recall"].items())
            assert right / sum(counts.values()) == pytest.approx(run.published["accuracy"], abs=2e-4), run.name
