"""train, evaluate and predict as users call them, and a kill in the middle of a training."""

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from tests.commands import Answer, call
from tests.drawn import draw_png, make_stripes
from workbench.config import Home
from workbench.db import open_database
from workbench.services.predictions import load_predictions

ROOT = Path(__file__).resolve().parent.parent
TINY = ("--set", "image_size=16", "--set", "threads=1", "--set", "batch_size=16", "--set", "precision=float32")
Call = Callable[..., Answer]


@pytest.fixture
def bench(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    return lambda *arguments: call(capsys, monkeypatch, *arguments)


def make_home(folder: Path) -> Home:
    home = Home.at(folder)
    database = open_database(home)
    with database.write() as session:
        make_stripes(session, home)
    database.close()
    return home


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, list[Answer]]:
    """Two runs, the second on a second seed, as the command line tells them."""
    home = make_home(tmp_path_factory.mktemp("trained") / "home")
    answers = []
    for more in (("--seed", "0"), ("--seed", "1", "--json")):
        with pytest.MonkeyPatch.context() as patch:
            answers.append(
                run_once(patch, "train", "--dataset", "stripes", "--epochs", "4", *TINY, "--home", home.root, *more)
            )
    return home, answers


def run_once(patch: pytest.MonkeyPatch, *arguments: str | Path) -> Answer:
    """Like `call`, for fixtures that outlive a test."""
    out, err = io.StringIO(), io.StringIO()
    patch.setattr("sys.stdout", out)
    patch.setattr("sys.stderr", err)
    patch.setattr("sys.argv", ["workbench", *(str(each) for each in arguments)])
    from workbench import cli

    try:
        cli.main()
    except SystemExit as exit_:
        return Answer(int(exit_.code or 0), out.getvalue(), err.getvalue())
    return Answer(0, out.getvalue(), err.getvalue())


def test_train_answers_with_the_documented_keys(trained: tuple[Home, list[Answer]]) -> None:
    _, (_, answer) = trained
    found = answer.document
    assert (answer.status, answer.err) == (0, "")
    assert {"run", "arch", "epochs", "seconds", "images_per_second", "test"} <= set(found)
    assert (found["run"], found["arch"], found["epochs"]) == (2, "compact", 4)
    assert set(found["test"]) == {
        "accuracy",
        "low",
        "high",
        "n",
        "macro_f1",
        "log_loss",
        "split",
        "baseline",
        "cleaned_with_own_flags",
    }
    assert (found["test"]["n"], found["test"]["split"]) == (12, "test")


def test_train_tells_people_the_accuracy_with_n_interval_and_baseline(trained: tuple[Home, list[Answer]]) -> None:
    _, (told, _) = trained
    first, second, third, fourth = told.out.splitlines()
    assert first.startswith("Run 1: compact, 4 epochs on 36 images in ")
    assert second.startswith("Accuracy ")
    assert "n = 12, test); always saying rows gives 33.3%." in second
    assert third == "Promoted as the first of this data set. Its predictions are on the pages and its queues are open."
    assert fourth.startswith("Next: review the queues")


def test_evaluate_repeats_the_numbers_of_the_training(bench: Call, trained: tuple[Home, list[Answer]]) -> None:
    home, (_, answer) = trained
    found = bench("evaluate", "2", "--home", home.root, "--json").document
    for key in ("accuracy", "low", "high", "n", "macro_f1", "log_loss", "split"):
        assert found[key] == answer.document["test"][key]
    assert found["classes"] == ["rows", "columns", "blank"]
    assert np.array(found["confusion"]).shape == (3, 3)
    assert "Macro F1" in bench("evaluate", "2", "--home", home.root).out


def test_evaluate_against_another_run(bench: Call, trained: tuple[Home, list[Answer]]) -> None:
    home, _ = trained
    found = bench("evaluate", "2", "--against", "1", "--split", "validation", "--home", home.root, "--json").document
    assert (found["split"], found["against"]["a"], found["against"]["b"], found["against"]["n"]) == (
        "validation",
        1,
        2,
        12,
    )
    assert found["against"]["sentence"].startswith("On 12 images (validation) run 2 gets ")
    assert (
        found["against"]["sentence"]
        in bench("evaluate", "2", "--against", "1", "--split", "validation", "--home", home.root).out
    )


def write_folder(folder: Path) -> Path:
    for name in ("rows", "blank", "stars"):
        (folder / name).mkdir(parents=True)
        for number in range(3):
            (folder / name / f"{number}.png").write_bytes(draw_png(name, seed=7000 + number, size=24, colour=True))
    (folder / "rows" / "broken.png").write_bytes(b"\x89PNG no more")
    (folder / "rows" / "ünï.txt").write_text("not an image")
    return folder


def test_predict_a_folder(bench: Call, trained: tuple[Home, list[Answer]], tmp_path: Path) -> None:
    home, _ = trained
    found = bench("predict", "2", write_folder(tmp_path / "in"), "--home", home.root, "--json").document
    assert (found["run"], found["classes"]) == (2, ["rows", "columns", "blank"])
    assert sorted(image["path"] for image in found["images"]) == sorted(
        f"{name}/{number}.png" for name in ("rows", "blank", "stars") for number in range(3)
    )
    for image in found["images"]:
        assert sum(image["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert image["confidence"] == max(image["probabilities"].values()) == image["probabilities"][image["predicted"]]
    assert sorted(refused["path"] for refused in found["refused"]) == ["rows/broken.png", "rows/ünï.txt"]
    assert all(refused["reason"] for refused in found["refused"])


def test_predict_one_file_and_what_is_none(bench: Call, trained: tuple[Home, list[Answer]], tmp_path: Path) -> None:
    home, _ = trained
    (tmp_path / "one.jpg").write_bytes(draw_png("rows", seed=1))
    (tmp_path / "none.jpg").write_text("nothing")
    told = bench("predict", "2", tmp_path / "one.jpg", "--home", home.root)
    assert (told.status, told.out.startswith("one.jpg\t")) == (0, True)
    refused = bench("predict", "2", tmp_path / "none.jpg", "--home", home.root)
    assert (refused.status, refused.out) == (1, "")
    assert "cannot be read: not an image" in refused.err
    assert "There is no file or folder" in bench("predict", "2", tmp_path / "absent", "--home", home.root).err


def test_evaluate_on_a_folder_outside(bench: Call, trained: tuple[Home, list[Answer]], tmp_path: Path) -> None:
    home, _ = trained
    found = bench("evaluate", "2", "--on", write_folder(tmp_path / "in"), "--home", home.root, "--json").document
    assert (found["split"], found["n"], found["classes"]) == ("on in", 6, ["rows", "columns", "blank"])
    reasons = {refused["path"]: refused["reason"] for refused in found["refused"]}
    assert reasons["stars/0.png"] == "the run does not know the class stars"
    assert len(reasons) == 5


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (("evaluate", "9"), 1, "There is no run 9 (there is: 1, 2)."),
        (("predict", "9", "."), 1, "There is no run 9 (there is: 1, 2)."),
        (("evaluate", "1", "--on", ".", "--against", "2"), 2, "--on goes with neither"),
        (("train", "--dataset", "stripes", "--set", "epochs"), 2, "KEY=VALUE"),
        (("train", "--dataset", "stripes", "--preset", "slow"), 2, "slow"),
        (("train", "--dataset", "stripes", "--arch", "resnet19"), 1, "There is no architecture “resnet19”"),
        (("train", "--dataset", "dogs"), 1, "There is no data set “dogs” (there is: stripes)."),
        (("train",), 2, "--dataset"),
    ],
)
def test_refusals_have_their_exit_status_and_a_sentence(
    bench: Call, trained: tuple[Home, list[Answer]], arguments: tuple[str, ...], status: int, sentence: str
) -> None:
    home, _ = trained
    found = bench(*arguments, "--home", home.root, "--json")
    assert (found.status, found.out) == (status, "")
    assert sentence in found.err


def test_a_training_killed_and_started_again_ends_with_the_same_numbers(bench: Call, tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    arguments = ("train", "--dataset", "stripes", "--epochs", "12", *TINY, "--home", str(home.root), "--json")
    metrics = home.run_folder(1) / "metrics.jsonl"
    victim = subprocess.Popen([sys.executable, "-m", "workbench", *arguments], cwd=ROOT, stdout=subprocess.PIPE)
    deadline = time.monotonic() + 200
    while not (metrics.exists() and metrics.read_bytes().count(b"\n") >= 2):
        assert victim.poll() is None, "it was quicker than the test"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    os.kill(victim.pid, signal.SIGKILL)
    victim.communicate()
    assert metrics.read_bytes().count(b"\n") < 12

    resumed = bench(*arguments).document
    undisturbed = bench(*arguments).document

    assert (resumed["run"], undisturbed["run"], resumed["epochs"]) == (1, 2, 12)
    assert resumed["test"] == undisturbed["test"]
    first, second = (load_predictions(home, number) for number in (1, 2))
    np.testing.assert_array_equal(first.probs, second.probs)
    np.testing.assert_array_equal(first.features, second.features)


def test_the_picture_helper_draws_what_it_says() -> None:
    pixels = np.asarray(Picture.open(io.BytesIO(draw_png("rows", seed=1))))
    assert pixels.mean(1).std() > 3 * pixels.mean(0).std()
