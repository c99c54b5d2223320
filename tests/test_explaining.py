"""The jobs that map where a run looks and put it under stress, and the commands that do the same."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture
from sqlalchemy import select

from tests.commands import Answer, call
from tests.drawn import make_stripes
from tests.test_json_contract import NUMBER, faults
from tests.trained_runs import add_run
from workbench.config import Home
from workbench.db import Database, open_database
from workbench.errors import Cancelled, Invalid, NotFound
from workbench.models import Dataset, Image, Run, User
from workbench.services import explain_requests, stress
from workbench.services.confusions import Surest, list_surest
from workbench.services.evaluations import Judged
from workbench.services.measures import wilson
from workbench.services.saliency import (
    Saliency,
    describe_test,
    judge_test,
    load_maps,
    paint,
    read_test,
    save_maps,
)
from workbench.worker.context import Context
from workbench.worker.explaining import explain_run
from workbench.worker.handlers import handle
from workbench.worker.stressing import stress_run
from workbench.worker.trainings import train

LEAD = {"difference": NUMBER, "low": NUMBER, "high": NUMBER}
KINDS = {"own": [NUMBER], "random": [NUMBER], "other": [NUMBER]}
EXPLAINED = {  # as docs/cli.md says
    "run": int, "dataset": str, "images": int, "verdict": str, "n": int, "split": str, "own": NUMBER, "random": NUMBER,
    "other": NUMBER, "over_random": LEAD, "over_other": LEAD, "layer": str, "grid": int, "made_at": str,
    "fractions": [NUMBER], "deletion": KINDS, "insertion": KINDS,
}  # fmt: skip
POINT = {"right": int, **dict.fromkeys(("accuracy", "low", "high", "change", "change_low", "change_high"), NUMBER)}
HIDDEN = {"mask": str, "share": NUMBER, **POINT}
STRESSED = {
    "run": int, "dataset": str, "split": str, "n": int, "made_at": str, "plain": POINT,
    "curves": [{"name": str, "title": str, "unit": str, "points": [{"strength": NUMBER, **POINT}]}],
    "regions": [HIDDEN], "bands": [HIDDEN],
}  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Database:
    """A data set of 60 striped images, 12 of them for testing, and run 1 on it."""
    home = Home.at(tmp_path_factory.mktemp("explained") / "home")
    database = open_database(home)
    with database.write() as session:
        make_stripes(session, home)
    settings = {"image_size": "24", "threads": "1", "batch_size": "16", "precision": "float32"}
    train(Context(database, home), dataset="stripes", epochs=3, settings=settings)
    return database


@pytest.fixture
def context(trained: Database) -> Context:
    """Nothing explained or stressed yet."""
    for name in ("saliency.npz", "faithfulness.json", "stress.json"):
        (trained.home.run_folder(1) / name).unlink(missing_ok=True)
    return Context(trained, trained.home)


def test_every_image_gets_a_map_and_the_maps_are_tested(context: Context) -> None:
    found = explain_run(context, run=1, dataset="stripes")

    maps, test = load_maps(context.home, 1), read_test(context.home, 1)
    assert maps is not None
    assert test is not None
    with context.database.read() as session:
        ids = list(session.scalars(select(Image.id).order_by(Image.id)))
        classes = [cls["id"] for cls in session.get_one(Run, 1).config["classes"]]
    assert maps.image_ids.tolist() == ids
    assert maps.maps.shape == (60, test["grid"], test["grid"])
    assert set(maps.class_ids.tolist()) <= set(classes)
    assert (test["n"], test["split"]) == (8, "test")  # a third of the twelve served to choose the layer
    assert found["verdict"] == judge_test(test).kind
    assert found["images"] == 60


def test_a_job_that_was_stopped_goes_on_where_it_was(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workbench.worker.explaining._FIRST", 7)
    monkeypatch.setattr("workbench.worker.explaining._CHUNK", 11)

    def stop(done: int, total: int, message: str = "") -> None:
        if done >= 18:
            raise Cancelled("Cancelled.")

    with pytest.raises(Cancelled):
        explain_run(replace(context, progress=stop), run=1, image=33)
    kept = load_maps(context.home, 1)
    assert kept is not None
    assert len(kept.image_ids) == 18
    assert kept.find(33) is not None  # whoever waits for it has it first
    tested = read_test(context.home, 1)

    explain_run(context, run=1)

    whole = load_maps(context.home, 1)
    assert whole is not None
    assert len(whole.image_ids) == 60
    np.testing.assert_array_equal(whole.maps[[whole.find(i) for i in kept.image_ids]], kept.maps)
    assert read_test(context.home, 1) == tested


def test_images_that_can_no_longer_be_read_have_no_map(context: Context) -> None:
    with context.database.read() as session:
        lost = session.get_one(Image, 2)
        file = context.home.objects / lost.file_sha256[:2] / lost.file_sha256[2:]
    data = file.read_bytes()
    file.unlink()

    explain_run(context, run=1)
    file.write_bytes(data)

    maps = load_maps(context.home, 1)
    assert maps is not None
    assert (maps.find(2), len(maps.image_ids)) == (None, 59)


def test_stress_measures_every_strength_region_and_band_on_the_same_images(context: Context) -> None:
    found = handle(context, "stress", {"run": 1, "dataset": "stripes"})

    assert stress.read_stress(context.home, 1) == json.loads(json.dumps(found))
    assert (found["n"], found["split"]) == (12, "test")
    assert [curve["name"] for curve in found["curves"]] == ["blur", "noise", "brightness", "jpeg", "rotation"]
    assert [row["mask"] for row in found["regions"]] == ["top", "eyes", "lower"]
    assert len(found["bands"]) == 8
    rows = [point for curve in found["curves"] for point in curve["points"]]
    for row in [*rows, *found["regions"], *found["bands"]]:
        assert (row["low"], row["high"]) == wilson(row["right"], 12)
        assert row["change"] == pytest.approx((row["right"] - found["plain"]["right"]) / 12)
    assert stress_run(context, run=1, dataset="stripes")["curves"] == found["curves"]  # the same noise each time
    with context.database.read() as session:
        metrics = session.get_one(Run, 1).metrics
    assert metrics is not None
    assert found["plain"]["accuracy"] == metrics["accuracy"]


def test_a_run_without_a_model_is_refused_in_a_sentence(trained: Database) -> None:
    with trained.write() as session:
        dataset, user = session.get_one(Dataset, 1), session.get_one(User, 1)
        made_elsewhere = add_run(session, trained.home, dataset=dataset, user=user)
        with pytest.raises(Invalid, match=f"Run {made_elsewhere.id} has no model here that could be asked"):
            explain_requests.ask(session, trained.home, kind="explain", dataset=dataset, run=made_elsewhere, user=user)
        run_id = made_elsewhere.id
    for job in (explain_run, stress_run):
        with pytest.raises(NotFound, match=f"Run {run_id} has no model of its own here"):
            job(Context(trained, trained.home), run=run_id)


def test_one_open_job_of_each_kind_and_run(trained: Database) -> None:
    with trained.write() as session:
        given = {"dataset": session.get_one(Dataset, 1), "user": session.get_one(User, 1)}
        run = session.get_one(Run, 1)
        first = explain_requests.ask(session, trained.home, kind="explain", run=run, **given)
        second = explain_requests.ask(session, trained.home, kind="explain", run=run, **given)
        other = explain_requests.ask(session, trained.home, kind="stress", run=run, **given)

        assert second is first
        assert other is not first
        assert first.params == {"dataset": "stripes", "run": 1}
        session.rollback()


def test_a_run_that_the_pages_show_has_its_maps_made_ahead_where_images_are_many(trained: Database) -> None:
    with trained.write() as session:
        run, user = session.get_one(Run, 1), session.get_one(User, 1)
        assert explain_requests.ask_ahead(session, trained.home, run=run, user=user) is None
        run.config = {**run.config, "counts": {**run.config["counts"], "images": 2000}}

        job = explain_requests.ask_ahead(session, trained.home, run=run, user=user)

        assert job is not None
        assert (job.kind, job.params) == ("explain", {"dataset": "stripes", "run": 1})
        session.get_one(Dataset, 1).promoted_run_id = None
        assert explain_requests.ask_ahead(session, trained.home, run=run, user=user) is None
        session.rollback()


@pytest.fixture
def bench(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Answer]:
    return lambda *arguments: call(capsys, monkeypatch, *arguments)


def test_the_commands_answer_in_words_and_in_json(context: Context, bench: Callable[..., Answer]) -> None:
    explained = bench("explain", "1", "--home", context.home.root)
    document = bench("explain", "1", "--home", context.home.root, "--json").document
    stressed = bench("stress", "1", "--home", context.home.root)

    assert "60 maps of run 1" in explained.out
    assert "insertion less deletion" in explained.out
    assert faults(document, EXPLAINED) == []
    assert faults(stress.read_stress(context.home, 1), STRESSED) == []
    assert "Run 1 on 12 images of test" in stressed.out
    assert "Rotation (degrees, either way)" in stressed.out
    assert bench("explain", "77", "--home", context.home.root).status == 1


# --- the words and the pictures ------------------------------------------------------------------------------------


def make_test(over_random: float, over_other: float) -> dict[str, object]:
    rng = np.random.default_rng(0)
    own = 0.3 + rng.normal(0, 0.05, 200)
    return describe_test(own, own - over_random - rng.normal(0, 0.1, 200), own - over_other - rng.normal(0, 0.1, 200))


@pytest.mark.parametrize(
    ("over_random", "over_other", "kind", "words"),
    [
        (0.2, 0.1, "faithful", "These maps pass their test"),
        (0.2, 0.0, "general", "another image's map does as well"),
        (0.0, 0.1, "failed", "These maps fail their test"),
        (-0.2, -0.1, "failed", "These maps fail their test"),
    ],
)
def test_the_verdict_follows_the_intervals(over_random: float, over_other: float, kind: str, words: str) -> None:
    verdict = judge_test(make_test(over_random, over_other))

    assert (verdict.kind, verdict.passed) == (kind, kind == "faithful")
    assert words in verdict.sentence
    assert "n 200" in verdict.sentence


def test_one_image_proves_nothing() -> None:
    one = np.ones(1)

    assert judge_test(describe_test(one, 0 * one, 0 * one)).kind == "failed"


def test_a_map_is_painted_red_where_it_is_strongest_and_clear_where_it_is_not(tmp_path: Path) -> None:
    values = np.zeros((4, 4), np.uint8)
    values[0, 0] = 255
    (tmp_path / "map.png").write_bytes(paint(values))

    pixels = np.asarray(Picture.open(tmp_path / "map.png"))

    assert pixels.shape == (96, 96, 4)
    assert pixels[10, 10, 3] > 150
    assert pixels[10, 10, 0] > 200 > 60 > pixels[10, 10, 2]
    assert pixels[90, 90, 3] == 0


def test_maps_are_kept_by_image_and_newer_ones_take_the_place_of_older(home: Home) -> None:
    def make(ids: list[int], value: int) -> Saliency:
        return Saliency(np.array(ids), np.full((len(ids), 2, 2), value, np.uint8), np.array([9] * len(ids)))

    home.run_folder(3).mkdir(parents=True)
    assert load_maps(home, 3) is None
    save_maps(home, 3, make([5, 9], 1).add(make([2, 9], 7)).add(make([], 0)))

    found = load_maps(home, 3)
    assert found is not None
    assert found.image_ids.tolist() == [2, 5, 9]
    assert found.maps[:, 0, 0].tolist() == [7, 1, 7]
    assert [found.find(image_id) for image_id in (2, 4, 9, 10)] == [0, None, 2, None]


def test_the_weakest_point_is_said_only_when_it_is_certain() -> None:
    plain = np.ones(50, bool)

    def curves(right: int) -> dict[str, object]:
        found = stress.measure(np.arange(50) < right, plain)
        curve = {"title": "Noise", "unit": "% of the range", "points": [{"strength": 8.0, **found}]}
        return {"n": 50, "curves": [curve]}

    assert stress.say_weakest(curves(30)).startswith("It loses most to noise: at 8 (% of the range) −40.0 points [−53.")
    assert (
        stress.say_weakest(curves(50)) == "Nothing that was tried lowers its accuracy for certain on these 50 images."
    )


def test_runs_that_differ_by_their_mask_alone_stand_beside_a_run(trained: Database) -> None:
    with trained.write() as session:
        dataset, user = session.get_one(Dataset, 1), session.get_one(User, 1)

        def add(overrides: dict[str, object], *, seed: int = 0) -> Run:
            made = add_run(session, trained.home, dataset=dataset, user=user)
            made.config = {**made.config, "overrides": overrides, "seed": seed}
            return made

        plain, top, lower = add({"epochs": 2}), add({"epochs": 2, "mask": "top"}), add({"epochs": 2, "mask": "lower"})
        add({"epochs": 3, "mask": "eyes"})
        add({"epochs": 2, "mask": "eyes"}, seed=1)
        session.flush()

        found = stress.list_masked(session, plain, masks=("top", "eyes", "lower"))
        assert found == {"top": top, "lower": lower}
        session.rollback()


def test_of_each_class_the_surest_right_and_the_surest_wrong_image_are_shown() -> None:
    probs = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.9, 0.1], [0.3, 0.7], [0.3, 0.7]])
    judged = Judged("test", np.arange(10, 16), probs, np.array([0, 0, 0, 0, 1, 1]), (1, 2), ("cat", "dog"))

    found = list_surest(judged)

    assert found == [
        ("cat", Surest("cat", "cat", 10, 0.9), Surest("cat", "dog", 12, 0.8)),
        ("dog", Surest("dog", "dog", 14, 0.7), None),
    ]
