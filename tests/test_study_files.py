"""What a study's file may say, and how each mistake in it is told."""

import pytest

from workbench.errors import Invalid, NotFound
from workbench.services import study_files
from workbench.services.study_files import PlannedRun, Range, find_document, parse_document, parse_ranges, read_plan

LIST = """
name = "two"
title = "Two nets"
[defaults]
preset = "standard"
settings = { epochs = 9, augment = { flip = 0.5 } }
[small]
image_size = 32
[[runs]]
name = "first"
settings = { learning_rate = 0.01, epochs = 12 }
published = { accuracy = 0.61, n = 100, recall = { cat = 0.5 } }
[[runs]]
name = "both"
arch = "ensemble"
seed = 3
from = "first"
members = ["first"]
[[runs]]
name = "on"
from = "first"
small = { image_size = 64 }
"""
SEARCH = """
name = "wide"
[search]
method = "grid"
settings = { epochs = 2, batch_size = 8 }
[search.ranges]
batch_size = [16, 32]
warmup = { low = 0.1, high = 0.3, step = 0.1 }
arch = ["compact", "resnet18"]
"""


def test_runs_say_what_differs_from_the_defaults() -> None:
    plan = read_plan(parse_document(LIST))
    assert (plan.name, plan.title, plan.method, plan.most) == ("two", "Two nets", "list", 3)
    assert plan.runs == (
        PlannedRun(
            name="first",
            preset="standard",
            settings={"epochs": 12, "augment": {"flip": 0.5}, "learning_rate": 0.01},
            published={"accuracy": 0.61, "n": 100, "recall": {"cat": 0.5}},
        ),
        PlannedRun(
            name="both",
            arch="ensemble",
            seed=3,
            start="first",
            members=("first",),
        ),
        PlannedRun(name="on", preset="standard", settings={"epochs": 9, "augment": {"flip": 0.5}}, start="first"),
    )


def test_small_makes_every_run_small() -> None:
    small = read_plan(parse_document(LIST), small=True)
    assert [(run.settings["image_size"], run.settings["epochs"]) for run in small.runs[::2]] == [(32, 1), (64, 1)]


def test_a_run_that_begins_with_anothers_weights_has_its_architecture() -> None:
    plan = read_plan(parse_document(LIST.replace('name = "first"\n', 'name = "first"\narch = "cnn4"\n')))
    assert [run.arch for run in plan.runs] == ["cnn4", "ensemble", "cnn4"]


def test_a_grid_is_laid_out_with_every_combination() -> None:
    plan = read_plan(parse_document(SEARCH))
    assert (plan.method, plan.most) == ("grid", 12)
    chosen = [(run.settings["batch_size"], run.settings["warmup"], run.arch) for run in plan.runs]
    assert chosen[:3] == [(16, 0.1, "compact"), (16, 0.1, "resnet18"), (16, 0.2, "compact")]
    assert len(set(chosen)) == 12
    assert {run.settings["epochs"] for run in plan.runs} == {2}


def test_hyperband_lays_nothing_out() -> None:
    plan = read_plan(parse_document(SEARCH.replace('"grid"', '"hyperband"\nruns = 40')))
    assert (plan.method, plan.runs, plan.most) == ("hyperband", (), 40)
    assert plan.search is not None
    assert plan.search.ranges["warmup"] == Range(low=0.1, high=0.3, step=0.1)
    assert read_plan(parse_document(SEARCH.replace('"grid"', '"hyperband"')), small=True).most == 6


def test_a_plan_reads_the_same_after_a_trip_through_the_database() -> None:
    import json

    for text in (LIST, SEARCH):
        document = parse_document(text)
        assert read_plan(json.loads(json.dumps(document))) == read_plan(document)


@pytest.mark.parametrize("name", study_files.list_saved())
def test_every_saved_configuration_can_be_read(name: str) -> None:
    document = find_document(name)
    plan = read_plan(document)
    assert (plan.name, bool(plan.title), bool(plan.source)) == (name, True, True)
    assert read_plan(document, small=True).most <= plan.most


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("name = ", "The study's file is no TOML"),
        ("name = 'x'\nday = 2026-01-01", "The study's file is no TOML that can be read"),
        ("title = 'x'", "The study needs a name."),
        ("name = 'Not this'", "The study's name “Not this” may hold small letters"),
        ("name = 'x'", "A study has either [[runs]] or a [search]."),
        (LIST.replace("title", "titel"), "The study knows no “titel”; it knows defaults, name,"),
        (LIST.replace("learning_rate = 0.01, epochs = 12", "").replace("preset", "presets"), "[defaults] knows no"),
        (LIST.replace('"both"', '"first"'), "Two runs of the study are called “first”."),
        (LIST.replace('members = ["first"]', 'members = ["last"]'), "Run “both” builds on “last”, which is no run"),
        (LIST.replace("seed = 3", "seed = 'three'"), "seed of run “both” is a whole number, not 'three'."),
        (LIST.replace("standard", "slow"), "There is no preset “slow” (run “first”); use quick, standard"),
        (LIST.replace("accuracy = 0.61", "accuracy = 61"), "The published accuracy of run “first” is a share"),
        (LIST.replace("0.61,", "'61 %',"), "What was published of run “first” is numbers; accuracy is '61 %'."),
        (SEARCH.replace("grid", "random"), "There is no search “random”; use grid or hyperband."),
        (SEARCH.replace(", step = 0.1", ""), "A grid needs the values of warmup one by one, or a step"),
        (SEARCH.replace("high = 0.3", "high = 0.1"), "The range of warmup goes from low to a higher high"),
        (SEARCH.replace("step = 0.1", "step = 0.0001"), "This grid has 8,004 points; 500 are the most."),
        (SEARCH.replace("[16, 32]", "[]"), "The range of batch_size is a list of numbers or words"),
    ],
)
def test_mistakes_are_told_in_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(Invalid) as caught:
        read_plan(parse_document(text))
    assert str(caught.value).startswith(sentence)


def test_a_name_that_nothing_has(tmp_path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(NotFound, match="There is no study “nothing”: name a TOML file, or one of "):
        find_document("nothing")
    file = tmp_path / "mine.toml"
    file.write_text(LIST.replace('name = "two"\n', ""), encoding="utf-8")
    assert read_plan(find_document(file)).name == "mine"


def test_ranges_are_written_in_a_line_too() -> None:
    found = parse_ranges(["learning_rate = 0.001..0.1:log", "batch_size=32,64", "width=32..256:32", "flip=true,false"])
    assert found == {
        "learning_rate": {"low": 0.001, "high": 0.1, "log": True},
        "batch_size": [32, 64],
        "width": {"low": 32, "high": 256, "step": 32},
        "flip": [True, False],
    }
    assert [study_files.read_range(key, value).words for key, value in found.items()] == [
        "0.001..0.1:log",
        "32, 64",
        "32..256:32",
        "true, false",
    ]
    with pytest.raises(Invalid, match="Write a range as learning_rate="):
        parse_ranges(["learning_rate"])
