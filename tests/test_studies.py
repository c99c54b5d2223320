"""Studies from asking to their table: lists, grids, searches; killed, cancelled, failed and gone on with."""

import dataclasses
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select
from statsmodels.stats.proportion import confint_proportions_2indep

from tests.commands import call
from tests.drawn import make_stripes
from workbench.config import Home
from workbench.db import Database, open_database
from workbench.errors import Cancelled, Conflict, Invalid
from workbench.models import Dataset, Job, Run, Study
from workbench.queries import studies as queries
from workbench.services import jobs, studies, study_tables, users
from workbench.services.study_files import parse_document
from workbench.worker import studies as worker
from workbench.worker import trainings
from workbench.worker.context import Context
from workbench.worker.jobs import run_job

TINY = "settings = { image_size = 16, threads = 1, batch_size = 16, precision = 'float32', epochs = 2 }"
LIST = f"""
name = "three"
[defaults]
{TINY}
[[runs]]
name = "plain"
published = {{ accuracy = 0.5, n = 100, macro_f1 = 0.4, recall = {{ rows = 0.9, gone = 0.1 }}, loss = 1.5 }}
[[runs]]
name = "slow"
settings = {{ learning_rate = 1e-8 }}
published = {{ accuracy = 0.999 }}
[[runs]]
name = "on"
from = "plain"
seed = 1
"""
MEAN = """
[[runs]]
name = "mean"
arch = "ensemble"
members = ["plain", "on"]
"""
SEARCH = """
name = "wide"
[search]
method = "hyperband"
runs = 6
settings = { image_size = 16, threads = 1, batch_size = 16, precision = "float32", epochs = 4 }
keep = 2
[search.ranges]
learning_rate = { low = 1e-7, high = 0.02, log = true }
"""


@pytest.fixture
def stripes(database: Database, home: Home) -> str:
    with database.write() as session:
        return make_stripes(session, home, per_class=10).name


@pytest.fixture
def context(database: Database, home: Home, stripes: str) -> Context:
    return Context(database, home)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home with the list as study 1 and the search as study 2, both done."""
    home = Home.at(tmp_path_factory.mktemp("trained") / "home")
    database = open_database(home)
    with database.write() as session:
        make_stripes(session, home, per_class=10)
    for text in (LIST + MEAN, SEARCH):
        start(Context(database, home), text)
    database.close()
    return home


@pytest.fixture
def after(trained: Home, tmp_path: Path) -> Iterator[Context]:
    """That home, for this test alone."""
    home = Home.at(shutil.copytree(trained.root, tmp_path / "copy"))
    database = Database(home)
    yield Context(database, home)
    database.close()


def start(context: Context, text: str, **rest: Any) -> dict[str, Any]:
    return worker.start_study(context, dataset="stripes", document=parse_document(text), **rest)


def test_a_list_is_trained_run_by_run_with_its_numbers_beside_the_published_ones(after: Context) -> None:
    with after.database.read() as session:
        found = study_tables.report_study(session, session.get_one(Study, 1))
    assert (found["study"], found["name"], found["method"], found["status"]) == (1, "three", "list", "done")
    rows = found["runs"]
    assert [(row["name"], row["run"], row["status"], row["epochs"]) for row in rows] == [
        ("plain", 1, "done", 2),
        ("slow", 2, "done", 2),
        ("on", 3, "done", 2),
        ("mean", 4, "done", 0),
    ]
    assert [row["test"]["n"] for row in rows] == [6, 6, 6, 6]
    assert rows[0]["published"]["accuracy"] == 0.5
    assert rows[0]["difference"]["value"] == pytest.approx(rows[0]["test"]["accuracy"] - 0.5)
    assert rows[2]["difference"] is None
    with after.database.read() as session:
        run = session.get_one(Run, 3)
        assert (run.from_run_id, run.config["seed"], run.preset) == (1, 1, "quick")
        assert session.get_one(Run, 4).config["members"] == [1, 3]
        assert {each.decision_id for each in session.scalars(select(Run))} == {run.decision_id}
        assert session.scalars(select(Dataset)).one().promoted_run_id is None


def test_a_small_study_is_small_and_the_same_asked_for_again_is_another_one(context: Context) -> None:
    text = LIST[: LIST.index('[[runs]]\nname = "slow"')]
    found = start(context, text, small=True)
    assert (found["small"], [row["epochs"] for row in found["runs"]]) == (True, [1])
    assert start(context, text, small=True)["study"] == 2


class StopAfter:
    """Ends the process, as far as the study can tell, when so many epochs have been trained, checkpoints and all."""

    def __init__(self, epochs: int, error: type[BaseException] = KeyboardInterrupt) -> None:
        self.left, self.error = epochs, error

    def __call__(self, epoch: int, accuracy: float | None, loss: float | None) -> None:
        self.left -= 1
        if self.left == 0:
            raise self.error


class Stop(Cancelled):
    """As when somebody pressed Cancel."""

    def __init__(self) -> None:
        super().__init__("Cancelled.")


def table(context: Context, study_id: int) -> list[tuple[Any, ...]]:
    with context.database.read() as session:
        report = study_tables.report_study(session, session.get_one(Study, study_id))
        kept = ("number", "chosen", "status", "epochs", "score", "test")
        return [tuple(row[key] for key in kept) for row in report["runs"]]


def test_a_search_stops_most_runs_and_goes_on_as_if_it_had_not_been_killed(after: Context, context: Context) -> None:
    undisturbed = table(after, 2)
    states = [row[2] for row in undisturbed]
    assert len(states) == 6
    assert set(states) == {"done", "stopped"}
    assert all(1e-7 <= row[1]["learning_rate"] <= 0.02 for row in undisturbed)
    for epochs in (3, 1, 5):
        with pytest.raises(KeyboardInterrupt):
            start(dataclasses.replace(context, on_epoch=StopAfter(epochs)), SEARCH)
    with context.database.read() as session:
        assert [study.status for study in queries.list_studies(session, dataset_id=1)] == ["running"]
    assert start(context, SEARCH)["study"] == 1
    assert table(context, 1) == undisturbed


def test_a_stopped_run_says_why_and_can_be_gone_on_with(after: Context) -> None:
    with after.database.read() as session:
        entries = queries.list_entries(session, study_id=2)
        stopped = next(run for planned, run in entries if planned.stopped and run is not None)
    epochs = stopped.epochs_done
    assert stopped.status == "cancelled"
    assert stopped.error == f"The search of study 2 stopped it after epoch {epochs}: others were further by then."
    trainings.carry_out(after, stopped.id)
    row = table(after, 2)[[run.id for _, run in entries if run].index(stopped.id)]
    assert (row[2], row[3]) == ("done", 4)


def test_a_run_that_fails_does_not_hold_up_the_others_and_is_tried_again(context: Context, database: Database) -> None:
    text = LIST.replace(
        'name = "slow"\nsettings = { learning_rate = 1e-8 }', 'name = "slow"\narch = "cnn4"\nfrom = "plain"'
    ).replace('from = "plain"\nseed', 'from = "slow"\nseed')
    found = start(context, text)
    assert (found["status"], [row["status"] for row in found["runs"]]) == ("done", ["done", "failed", "failed"])
    assert found["runs"][2]["error"] == "It builds on “slow”, which did not end well."
    assert found["runs"][1]["error"] == "The run to start from has another architecture or image size."
    with database.write() as session:
        study, user = session.get_one(Study, 1), users.ensure_admin(session)
        studies.go_on(session, study=study, dataset=session.get_one(Dataset, study.dataset_id), job=None, user=user)
        assert study.status == "queued"
    assert worker.run_study(context, dataset="stripes", study=1) == {
        "study": 1, "status": "done", "ended": 3, "runs": 3,
    }  # fmt: skip


def test_a_cancelled_study_keeps_what_is_done_and_goes_on(context: Context, database: Database) -> None:
    with pytest.raises(Cancelled):
        start(dataclasses.replace(context, on_epoch=StopAfter(3, Stop)), LIST)
    assert [row[2] for row in table(context, 1)] == ["done", "cancelled", "waiting"]
    with database.read() as session:
        assert session.get_one(Study, 1).status == "cancelled"
        entries = queries.list_entries(session, study_id=1)
        assert studies.can_go_on(session.get_one(Study, 1), entries, None)
    worker.carry_out(context, 1)
    assert [row[2] for row in table(context, 1)] == ["done", "done", "done"]
    with database.write() as session:
        study, dataset, user = session.get_one(Study, 1), session.get_one(Dataset, 1), users.ensure_admin(session)
        with pytest.raises(Conflict, match="Study 1 is done already"):
            studies.go_on(session, study=study, dataset=dataset, job=None, user=user)


def test_a_study_lets_a_training_pass_between_two_runs(context: Context, database: Database) -> None:
    with database.write() as session:
        user, dataset = users.ensure_admin(session), session.get_one(Dataset, 1)
        study = studies.ask_for_study(session, dataset=dataset, user=user, document=parse_document(LIST), small=True)
        waiting = jobs.enqueue(session, kind="train", user=user, dataset=dataset)
    result = worker.run_study(context, dataset="stripes", study=study.id)
    assert result == {"study": 1, "status": "running", "ended": 1, "runs": 3}
    with database.write() as session:
        asked = list(session.scalars(select(Job).where(Job.kind == "study")))
        assert [job.params for job in asked] == [{"dataset": "stripes", "study": 1}] * 2
        jobs.cancel(session.get_one(Job, waiting.id))
    assert worker.run_study(context, dataset="stripes", study=1)["status"] == "done"


def test_decisions_in_between_change_nothing_of_what_the_study_stands_on(context: Context, database: Database) -> None:
    with database.write() as session:
        user, dataset = users.ensure_admin(session), session.get_one(Dataset, 1)
        studies.open_study(session, dataset=dataset, user=user, document=parse_document(LIST), small=True)
        from workbench.models import Image
        from workbench.services import decisions

        image = session.scalars(select(Image).where(Image.split == "train").limit(1)).one()
        decisions.decide(session, image=image, user=user, verdict="exclude")
    worker.carry_out(context, 1)
    with database.read() as session:
        runs = list(session.scalars(select(Run)))
        assert {run.config["counts"]["trained"] for run in runs} == {18}


def test_a_study_whose_worker_is_killed_ends_with_the_same_table(
    after: Context, context: Context, database: Database, home: Home
) -> None:
    undisturbed = table(after, 2)
    with database.write() as session:
        user, dataset = users.ensure_admin(session), session.get_one(Dataset, 1)
        studies.ask_for_study(session, dataset=dataset, user=user, document=parse_document(SEARCH))
    command = [sys.executable, "-m", "workbench.worker.process", str(home.root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as victim:
        wait(lambda: (home.run_folder(3) / "checkpoint.pt").exists(), victim)
        os.kill(victim.pid, signal.SIGKILL)
    before = table(context, 1)
    assert {row[2] for row in before[:2]} <= {"done", "stopped"}
    assert len(before) == 3
    assert run_job(database, home, 1) == "done"  # as the next worker does with the job that the dead one had
    assert table(context, 1) == undisturbed


def wait(condition: Any, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        assert process.poll() is None, "it died by itself"
        time.sleep(0.002)


# --- what is refused --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (LIST.replace('name = "on"', 'name = "on"\narch = "unheard"'), "unheard"),
        (LIST.replace("learning_rate = 1e-8", "learning_speed = 1"), "has no setting 'learning_speed'"),
        (SEARCH.replace("learning_rate", "learning_speed"), "has no setting 'learning_speed'"),
        (SEARCH.replace("high = 0.02", "high = 2000"), "Learning_rate must be between"),
        (SEARCH.replace("learning_rate = {", "epochs = [1, 2] #"), "Hyperband deals out epochs itself"),
    ],
)
def test_what_cannot_work_is_refused_before_the_first_run(context: Context, text: str, sentence: str) -> None:
    with pytest.raises(Invalid) as caught:
        start(context, text)
    assert sentence.lower() in str(caught.value).lower()
    with context.database.read() as session:
        assert list(session.scalars(select(Run))) == []


def test_a_search_needs_a_validation_split_that_may_be_chosen_by(database: Database, home: Home) -> None:
    with database.write() as session:
        user = users.ensure_admin(session)
        without = make_stripes(session, home, per_class=4, splits=("train", "test"), name="without")
        frozen = make_stripes(session, home, per_class=4, name="frozen")
        frozen.frozen_split = "validation"
        for dataset, words in [(without, "and without has none; build splits first"), (frozen, "validation is frozen")]:
            with pytest.raises(Invalid, match=words):
                studies.open_study(session, dataset=dataset, user=user, document=parse_document(SEARCH))


def test_a_study_is_carried_out_by_one_process(context: Context, home: Home) -> None:
    with studies.claim(home, 1), pytest.raises(Conflict, match="Study 1 is under way right now"):
        worker.carry_out(context, 1)


# --- its table --------------------------------------------------------------------------------------------------


def test_the_difference_to_what_was_published_has_newcombes_interval() -> None:
    from workbench.services.measures import wilson

    for right, n, other, m in [(56, 70, 48, 80), (9, 10, 3, 10), (6, 7, 2, 7), (10, 10, 0, 20), (5, 56, 0, 29)]:
        low, high = study_tables.newcombe((right / n, *wilson(right, n)), (other / m, *wilson(other, m)))
        expected = confint_proportions_2indep(right, n, other, m, method="newcomb", compare="diff")
        np.testing.assert_allclose((low, high), expected, atol=1e-12)


def test_a_published_number_without_n_is_taken_as_exact() -> None:
    metrics = {"accuracy": 0.6, "low": 0.55, "high": 0.65, "n": 400}
    given = study_tables.read_published({"accuracy": 0.5})
    assert given is not None
    found = study_tables.compare_with(given, metrics)
    assert (found.value, found.low, found.high) == pytest.approx((0.1, 0.05, 0.15))
    assert found.words == "above"
    assert study_tables.read_published({"macro_f1": 0.5}) is None


def test_the_command_line_tells_the_table_in_text(
    after: Context, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    home = ("--home", after.home.root)
    lines = call(capsys, monkeypatch, "study", "show", "1", *home).out.splitlines()
    assert lines[0] == "Study 1: three, done, on stripes."
    assert re.fullmatch(r"  plain  [ \d.]+% \[[\d.]+%, [\d.]+%\], n = 6, test; published 50.0%", lines[1])
    assert re.fullmatch(r"Best by its accuracy: \w+, run \d\.", lines[5])
    searched = call(capsys, monkeypatch, "study", "show", "2", *home).out
    assert re.search(r"  3: learning_rate [\de.-]+ +stopped after epoch \d at 0\.\d+ on validation\n", searched)
    assert "Best by the validation split: " in searched
    listed = call(capsys, monkeypatch, "study", "list", "--dataset", "stripes", *home).out
    assert re.search(r"variations +3 runs  What varying the images while training buys\n", listed)
    assert "Study 1: three, done, 4 runs over\n" in listed
    gone = call(capsys, monkeypatch, "study", "show", "9", *home)
    assert (gone.status, gone.err) == (1, "workbench: There is no study 9 (there is: 1, 2).\n")


def test_other_published_numbers_stand_beside_ours(after: Context) -> None:
    with after.database.read() as session:
        study = session.get_one(Study, 1)
        rows = study_tables.make_table(session, study)
        others = {other.name: (other.published, other.ours) for other in rows[0].others}
        metrics = rows[0].metrics
        assert metrics is not None
        assert others == {
            "macro_f1": (0.4, metrics["macro_f1"]),
            "recall of rows": (0.9, metrics["per_class"][0]["recall"]),
            "recall of gone": (0.1, None),
            "loss": (1.5, None),
        }
        verdict = study_tables.judge(session, after.home, rows, studies.plan_of(study))
        assert verdict is not None
        assert verdict.best.accuracy == max(row.accuracy or 0 for row in rows)
        assert len(verdict.rivals) == 3
        assert verdict.is_chosen_by_what_is_shown


def test_a_search_is_judged_by_validation_not_by_test(after: Context) -> None:
    with after.database.read() as session:
        study = session.get_one(Study, 2)
        plan, rows = studies.plan_of(study), study_tables.make_table(session, study)
        best = study_tables.find_best(rows, plan)
        verdict = study_tables.judge(session, after.home, rows, plan)
        assert best is not None
        assert verdict is not None
        assert best.score == max(row.score for row in rows if row.state == "done")
        assert (verdict.chosen_on, verdict.is_chosen_by_what_is_shown) == ("validation", False)
