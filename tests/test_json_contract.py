"""The command line's contract: what `--json` answers, key by key and type by type, and how a refusal looks.

The same keys stand in docs/cli.md. Whoever changes one here breaks other people's scripts.
"""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Picture

from tests import drawn
from tests.commands import Answer
from tests.drawn import CLASSES

NUMBER = (int, float)
MAYBE_TEXT = (str, type(None))
MAYBE_NUMBER = (int, float, type(None))
COUNTS = {str: int}
LEFT = {"expected": NUMBER, "low": int, "high": int, "of": int}
MOVE = {"difference": NUMBER, "low": NUMBER, "high": NUMBER}
ESTIMATE = {"rate": NUMBER, "low": NUMBER, "high": NUMBER, "n": int, "wrong": int, "images": int}
FIGURE = {"value": MAYBE_NUMBER, "low": MAYBE_NUMBER, "high": MAYBE_NUMBER, "n": int}
TINY = ("--set", "image_size=16", "--set", "threads=1", "--set", "batch_size=16", "--set", "precision=float32")


def faults(found: Any, wanted: Any, *, at: str = "") -> list[str]:
    """Where a document differs from its schema: a type, a tuple of types, {key: schema}, {str: schema} or [schema]."""
    if isinstance(wanted, dict):
        if not isinstance(found, dict):
            return [f"{at} is {found!r}"]
        if set(wanted) == {str}:
            return [fault for key in found for fault in faults(found[key], wanted[str], at=f"{at}.{key}")]
        odd = [f"{at} has {key}" for key in found.keys() - wanted] + [
            f"{at} lacks {key}" for key in wanted - found.keys()
        ]
        return odd + [
            fault for key in wanted if key in found for fault in faults(found[key], wanted[key], at=f"{at}.{key}")
        ]
    if isinstance(wanted, list):
        if not isinstance(found, list):
            return [f"{at} is {found!r}"]
        return [fault for n, each in enumerate(found) for fault in faults(each, wanted[0], at=f"{at}[{n}]")]
    is_right = isinstance(found, wanted) and (not isinstance(found, bool) or wanted is bool)
    return [] if is_right else [f"{at} is {found!r}"]


def run(home: Path, *arguments: str | Path, as_json: bool = True) -> Answer:
    """`workbench ARGUMENTS --home HOME --json` in this process, for fixtures that outlive a test."""
    from workbench import cli

    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", out)
        patch.setattr("sys.stderr", err)
        more = ["--home", str(home), *(["--json"] if as_json else [])]
        patch.setattr("sys.argv", ["workbench", *map(str, arguments), *more])
        status = 0
        try:
            cli.main()
        except SystemExit as exit_:
            status = int(exit_.code or 0)
    return Answer(status, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("contract")


@pytest.fixture(scope="module")
def said(folder: Path) -> dict[str, Answer]:
    """Every command once, in the order in which somebody would call them."""
    home, source = folder / "home", draw(folder / "stripes")
    verdicts = folder / "verdicts.csv"
    verdicts.write_text(
        "path,verdict,class\ntrain/rows/000.png,relabel,blank\ntrain/rows/001.png,confirm,\n"
        "train/rows/002.png,ambiguous,rows|columns\ntrain/rows/003.png,exclude,\n"
    )
    (folder / "pair.toml").write_text(
        'name = "pair"\n[defaults.settings]\nepochs = 1\nimage_size = 16\nthreads = 1\nprecision = "float32"\n'
        '[[runs]]\nname = "one"\npublished = { accuracy = 0.5 }\n'
    )
    votes, attributes = folder / "votes.csv", folder / "attributes.csv"
    votes.write_text("path,rows,columns,blank\ntrain/rows/000.png,1,2,7\n")
    attributes.write_text("path,camera\ntrain/rows/000.png,left\n")
    data = ("--dataset", "stripes")
    tiny = ("--epochs", "1", *TINY)
    commands: dict[str, tuple[str | Path, ...]] = {
        "import": ("import", source, *data, "--votes", votes, "--attributes", attributes),
        "scan": ("scan", "all", *data),
        "findings": ("findings", *data),
        "duplicates": ("duplicates", *data),
        "architectures": ("architectures", "xception"),
        "train": ("train", *data, "--folds", "2", *tiny),
        "train again": ("train", *data, "--seed", "1", *tiny),
        "evaluate": ("evaluate", "1"),
        "evaluate by": ("evaluate", "1", "--by", "size"),
        "evaluate against": ("evaluate", "2", "--against", "1", "--split", "test"),
        "evaluate on": ("evaluate", "1", "--on", source / "test"),
        "predict": ("predict", "1", source / "test"),
        "predictions import": ("predictions", "import", write_predictions(folder / "elsewhere.csv", source), *data),
        "map": ("map", *data),
        "study run": ("study", "run", folder / "pair.toml", *data),
        "study search": (
            *("study", "search", *data, "--method", "grid", "--range", "seed=3", "--set", "epochs=1", *TINY),
        ),
        "study show": ("study", "show", "1"),
        "study list": ("study", "list", *data),
        "queue build": ("queue", "build", "random", *data, "--limit", "5"),
        "queue build with run": ("queue", "build", "label-issues", *data, "--run", "1"),
        "queue list": ("queue", "list", *data),
        "learn": ("learn", *data),
        "queue items": ("queue", "items", "1"),
        "decide": ("decide", *data, "--file", verdicts, "--as", "carol"),
        "train on what was decided": ("train", *data, *tiny, "--seed", "2"),
        "control": ("control", "1", "6"),
        "bought": ("bought", *data, "--run", "6"),
        "agreement": ("agreement", *data, "--source", "all"),
        "audit": ("audit", *data, "--size", "20"),
        "leaks": ("leaks", *data, "--run", "1"),
        "split": ("split", *data, "--train", "0.6", "--validation", "0.2", "--test", "0.2"),
        "freeze": ("freeze", *data, "--reason", "from now on"),
        "split the rest": (
            "split",
            *data,
            "--train",
            "0.8",
            "--validation",
            "0.1",
            "--test-from-existing",
            "--dry-run",
        ),
        "unfreeze": ("unfreeze", *data, "--reason", "done"),
        "export": ("export", folder / "exported", *data, "--format", "csv"),
        "user add": ("user", "add", "dora", "--role", "lead"),
        "user invite": ("user", "invite", "--role", "viewer", "--note", "Ann"),
        "login-link": ("login-link", "dora"),
        "promote": ("promote", "2", "--reason", "a newer one"),
        "log": ("log", *data),
        "check": ("check",),
        "backup": ("backup", folder / "all.tar.gz"),
        "status": ("status",),
    }
    answers = {name: run(home, *words) for name, words in commands.items()}
    return answers | {"restore": run(folder / "restored", "restore", folder / "all.tar.gz")}


def draw(source: Path) -> Path:
    """48 images in three classes and splits, all unlike; a copy of one under another class, a brighter one of another,
    one file that is no image."""
    for cls_number, cls in enumerate(CLASSES):
        for number in range(16):
            split = ("train", "train", "validation", "test")[number % 4]
            path = source / split / cls / f"{number // 4 * 2 + number % 2:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(draw_unlike(cls, seed=100 * cls_number + number))
    (source / "train/rows/brighter.png").write_bytes(draw_unlike("rows", seed=0, brighter=12))
    (source / "train/columns/copy.png").write_bytes((source / "train/blank/000.png").read_bytes())
    (source / "train/columns/broken.png").write_bytes(b"no image")
    return source


def write_predictions(path: Path, source: Path) -> Path:
    """What a model elsewhere said of the test images, and of one that is nowhere."""
    images = [each.relative_to(source).as_posix() for each in sorted(source.glob("test/*/*.png"))]
    said = {name: ",".join("0.8" if cls in name else "0.1" for cls in CLASSES) for name in (*images, "test/no.png")}
    path.write_text("\n".join([f"path,{','.join(CLASSES)}", *(f"{name},{probs}" for name, probs in said.items())]))
    return path


def draw_unlike(cls: str, *, seed: int, brighter: int = 0) -> bytes:
    """Stripes of the class over a picture that no other seed has."""
    stripes = (np.arange(16) // 2 % 2 == 0) * 20
    across = {"rows": stripes[:, None], "columns": stripes[None, :], "blank": np.zeros((1, 1), int)}[cls]
    pixels = 0.8 * drawn.draw(seed, height=16, width=16) + across + brighter
    return encode(np.clip(pixels, 0, 255).astype(np.uint8))


def encode(pixels: NDArray[np.uint8]) -> bytes:
    target = io.BytesIO()
    Picture.fromarray(pixels).save(target, "PNG")
    return target.getvalue()


MEASURED = {
    "n": int,
    "accuracy": NUMBER,
    "low": NUMBER,
    "high": NUMBER,
    "macro_f1": NUMBER,
    "log_loss": NUMBER,
    "split": str,
    "baseline": {
        "class": str, "accuracy": NUMBER, "macro_f1": NUMBER, "weighted_f1": NUMBER, "log_loss": NUMBER,
        "top2": NUMBER, "auc": NUMBER,
    },
}  # fmt: skip
TRAINED = {
    "run": int,
    "arch": str,
    "epochs": int,
    "seconds": NUMBER,
    "images_per_second": NUMBER,
    "test": MEASURED | {"cleaned_with_own_flags": bool},
    "promoted": bool,
    "first": bool,
    "counts": {
        "images": int, "unreadable": int, "unreadable_paths": [str], "not_usable": int, "leaked": int,
        "inherited": int, "trained": int, "validation": int, "evaluated": int, "dropped": int, "weighed": int,
        "capped": int, "variants": int, "by_votes": int,
    },
}  # fmt: skip
EVALUATED = MEASURED | {
    "run": int,
    "right": int,
    **{f"{name}{end}": NUMBER for name in ("macro_f1", "weighted_f1", "ece", "top2") for end in ("", "_low", "_high")},
    **{f"{name}{end}": MAYBE_NUMBER for name in ("log_loss", "auc") for end in ("", "_low", "_high")},
    "weighted_auc": MAYBE_NUMBER,
    "ece_calibrated": NUMBER,
    "calibration": [
        {
            "from": NUMBER, "to": NUMBER, "n": int, "confidence": NUMBER, "accuracy": NUMBER, "accuracy_low": NUMBER,
            "accuracy_high": NUMBER,
        }
    ],
    "classes": [str],
    "confusion": [[int]],
    "per_class": [
        {
            "name": str, "support": int, "predicted": int, "right": int,
            **{
                f"{name}{end}": MAYBE_NUMBER
                for name in ("precision", "recall", "specificity", "f1", "auc")
                for end in ("", "_low", "_high")
            },
        }
    ],
    "most_confused": [{"true": str, "predicted": str, "n": int, "share": NUMBER}],
}  # fmt: skip
RATE = {"n": int, "accuracy": MAYBE_NUMBER, "low": NUMBER, "high": NUMBER}
COPIES = {
    "run": int, "split": str, "trained": int, "left_out": int, "exact": int, "near": int, "all": RATE,
    "leaked": RATE, "rest": RATE, "difference": MAYBE_NUMBER, "low": MAYBE_NUMBER, "high": MAYBE_NUMBER,
    "within_classes": (dict, type(None)), "cleaned_with_own_flags": bool,
    "classes": [{"class": str, "leaked": RATE, "rest": RATE}], "sentence": str,
}  # fmt: skip
CHECKS = [{"check": str, "status": str, "sentence": str}]
EVALUATED_INSIDE = EVALUATED | {
    "checks": CHECKS,
    "cleaned_with_own_flags": bool,
    "votes": (dict, type(None)),
    "scaled": (dict, type(None)),
    "copies": COPIES,
    "coverage": [{"stage": str, "n": int, "parts": [{"part": str, "n": int, "kept": bool}]}],
}
INTERVAL = {"accuracy": NUMBER, "low": NUMBER, "high": NUMBER}
TESTED = {
    "split": str, "n": int, "a_accuracy": INTERVAL, "b_accuracy": INTERVAL, "difference": NUMBER, "low": NUMBER,
    "high": NUMBER, "p": NUMBER, "verdict": str, "cleaned_with_own_flags": bool,
}  # fmt: skip
BOTH = {"a": NUMBER, "b": NUMBER, "difference": NUMBER, "low": NUMBER, "high": NUMBER}
COMPARED = TESTED | {
    "a": int, "b": int, "sentence": str, "balanced_accuracy": BOTH, "macro_f1": BOTH,
    "flipped": {"a_right": [int], "b_right": [int], "both_wrong": [int]},
    "per_class": [
        {
            "class": str, "n": int, "a_recall": MAYBE_NUMBER, "b_recall": MAYBE_NUMBER,
            **dict.fromkeys(("difference", "low", "high", "p"), MAYBE_NUMBER),
        }
    ],
}  # fmt: skip
POINTS = {"difference": NUMBER, "low": NUMBER, "high": NUMBER, "p": NUMBER}
GAIN = {
    "then": int, "now": int, "n": int, "left_out": int, "changed": int, "kind": str, "control": (int, type(None)),
    "table": [{"run": int, "then": INTERVAL, "now": INTERVAL, "change": POINTS}], "models": [POINTS],
    "parts": [POINTS | {"part": str}], "sentence": str,
}  # fmt: skip
COMPARED |= {"gain": GAIN}
PROMOTION = {
    "promoted": bool, "how": str, "by": str, "at": str, "automatic": bool, "reason": str, "passes": bool,
    "sentence": str, "against": int, "test": TESTED,
}  # fmt: skip
REFUSED = [{"path": str, "reason": str}]
QUEUE_BUILT = {
    "queue": int, "recipe": str, "size": int, "random": int, "expected_hits": MAYBE_NUMBER, "without": MAYBE_TEXT,
}  # fmt: skip
SPLIT = {
    "dataset": str, "splits": COUNTS, "changed": int, "groups_kept": int, "families_kept": int, "family_images": int,
    "largest": int, "set_aside": int, "deviation": NUMBER, "applied": bool,
}  # fmt: skip
BACKED_UP = {"format": int, "version": str, "made_at": str, "files": int}
STUDY = {
    "study": int, "name": str, "dataset": str, "method": str, "small": bool, "status": str, "error": str,
    "decision": int, "best": (int, type(None)),
    "runs": [
        {
            "number": int, "name": str, "arch": str, "chosen": dict, "run": (int, type(None)), "status": str,
            "error": str, "epochs": int, "seconds": NUMBER, "score": MAYBE_NUMBER, "test": (dict, type(None)),
            "published": (dict, type(None)), "difference": (dict, type(None)),
        }
    ],
}  # fmt: skip
CONTRACT: dict[str, Any] = {
    "architectures": {
        "architectures": [
            {
                "name": str, "family": str, "source": str, "image_size": int, "channels": int, "parameters": int,
                "published": int, "counted": str,
            }
        ]
    },
    "import": {
        "dataset": str, "import": int, "format": str, "found": int, "imported": int, "known": int, "dropped": int,
        "refused": REFUSED, "exact_duplicates": int, "classes": COUNTS, "splits": COUNTS, "unused": [str],
        "votes_matched": int, "attributes_matched": int, "seconds": NUMBER,
    },
    "scan": {
        "dataset": str,
        "scans": {
            "duplicates": {
                "dataset": str, "images": int, "pictures": int, "compared": int, "flat": int, "unreadable": int,
                "pairs": int, "verdicts": int, "exact_groups": int, "near_groups": int,
            },
            "quality": {
                "dataset": str, "images": int, "missing": int, "blank": int, "dark": int, "bright": int,
                "low_contrast": int, "blurred": int, "odd_size": int, "odd_shape": int,
            },
            "faces": {"dataset": str, "images": int, "no_face": int, "several_faces": int},
        },
    },
    "findings": {
        "dataset": str, "kinds": dict,
        "findings": [{"image": int, "path": str, "kind": str, "score": NUMBER, "reason": str}],
    },
    "duplicates": {
        "images": int, "redundant": int, "spanning": int, "conflicting": int, "open": int,
        "groups": [
            {
                "group": int, "kind": str, "score": NUMBER, "p": NUMBER, "conflicting": bool, "spanning": bool,
                "verdict": MAYBE_TEXT,
                "images": [
                    {
                        "id": int, "path": str, "label": MAYBE_TEXT, "split": MAYBE_TEXT, "status": str,
                        "pixels": str,
                    }
                ],
                "pairs": [
                    {
                        "a": int, "b": int, "how": str, "p": NUMBER, "transform": (dict, type(None)), "words": str,
                    }
                ],
            }
        ],
    },
    "train": TRAINED | {"promotion": dict},  # as of `promote`
    "train again": TRAINED | {"promotion": type(None)},
    "train on what was decided": TRAINED | {"promotion": type(None)},
    "evaluate": EVALUATED_INSIDE,
    "evaluate by": EVALUATED_INSIDE | {
        "groups": {
            "by": str, "against": MAYBE_TEXT, "n": int, "without": int, "p": MAYBE_NUMBER, "sentence": str,
            "groups": [
                {
                    "value": str, "n": int, "accuracy": NUMBER, "low": NUMBER, "high": NUMBER,
                    "difference": MAYBE_NUMBER, "difference_low": MAYBE_NUMBER, "difference_high": MAYBE_NUMBER,
                    "p": MAYBE_NUMBER, "p_holm": MAYBE_NUMBER,
                }
            ],
        }
    },
    "evaluate against": EVALUATED_INSIDE | {"against": COMPARED},
    "evaluate on": EVALUATED | {"refused": REFUSED},
    "control": TRAINED | {"promotion": type(None), "test": dict, "counts": dict},  # as of `train`
    "map": {"dataset": str, "run": int, "method": str, "images": int, "regions": int, "seconds": NUMBER},
    "promote": {"run": int, "promoted": bool, "promotion": PROMOTION},
    "predict": {
        "run": int, "classes": [str], "refused": REFUSED,
        "images": [{"path": str, "predicted": str, "confidence": NUMBER, "probabilities": {str: NUMBER}}],
    },
    "predictions import": {
        "run": int, "classes": [str], "matched": int, "unknown": int, "unknown_paths": [str], "checks": CHECKS,
        "test": MEASURED | {"cleaned_with_own_flags": bool},
    },
    "queue build": QUEUE_BUILT,
    "queue build with run": QUEUE_BUILT,
    "queue list": {
        "queues": [
            {
                "queue": int, "recipe": str, "title": str, "run": (int, type(None)), "open": int, "done": int,
                "automatic": bool, "replaced": bool, "expected_hits": MAYBE_NUMBER, "hits": int,
                "hit_rate": MAYBE_NUMBER, "recent_hit_rate": MAYBE_NUMBER, "smoothed_hit_rate": MAYBE_NUMBER,
                "left": (dict, type(None)), "next": (dict, type(None)),
            }
        ],
        "left": LEFT,
    },
    "bought": {
        "run": int, "against": int, "split": str, "n": int, "decisions": int, "changed": int, "sentence": str,
        "parts": [{"queue": (int, type(None)), "title": str, "decisions": int, "changed": int, **MOVE}],
        "rest": MOVE,
        "whole": {**MOVE, "p": NUMBER},
    },
    "learn": {
        "dataset": str, "run": int, "verdicts": int, "random_verdicts": int, "shrinkage": NUMBER, "judged": int,
        "expected_wrong": NUMBER,
    },
    "queue items": {
        "queue": int, "recipe": str,
        "items": [
            {
                "image": int, "path": str, "label": MAYBE_TEXT, "suggested": MAYBE_TEXT, "score": NUMBER,
                "p_wrong": MAYBE_NUMBER, "reason": str, "random": bool, "done": bool, "group": (int, type(None)),
            }
        ],
    },
    "audit": {
        "audit": int, "queue": int, "version": int, "verdict_version": int, "content_hash": str,
        "run": (int, type(None)), "sample": int, "done": int, "missing": int, "wrong": int, "ambiguous": int,
        "images": int, "rate": MAYBE_NUMBER, "low": MAYBE_NUMBER, "high": MAYBE_NUMBER,
        "estimated_errors": MAYBE_NUMBER, "errors_low": MAYBE_NUMBER, "errors_high": MAYBE_NUMBER,
        "left": MAYBE_NUMBER, "margin": NUMBER, "margin_reached": (bool, type(None)),
        "plain": (dict, type(None)), "classes": {str: ESTIMATE}, "splits": {str: ESTIMATE},
        "accuracy": [{"split": MAYBE_TEXT, "corrected": ESTIMATE, "given": ESTIMATE}],
        "agreement": (dict, type(None)),
    },
    "decide": {"dataset": str, "decided": int, "by": COUNTS},
    "agreement": {
        "dataset": str, "source": str, "images": int, "opinions": int, "disputed": int, "alpha": FIGURE,
        "observed": FIGURE, "chance": MAYBE_NUMBER, "fleiss": FIGURE,
        "reviewers": [
            {
                "name": str, "decisions": int, "opinions": int, "per_hour": MAYBE_NUMBER, "seconds": MAYBE_NUMBER,
                "changes": FIGURE, "others": FIGURE, "gold": FIGURE, "undone": int,
            }
        ],
        "pairs": [{"one": str, "other": str, "kappa": FIGURE, "observed": FIGURE}],
        "classes": [{"class": str, "said": int, "images": int, "specific": MAYBE_NUMBER, "alpha": FIGURE}],
        "confused": [{"one": str, "other": str, "images": int}],
    },
    "leaks": {
        "dataset": str, "min_p": NUMBER, "scanned": bool, "frozen": MAYBE_TEXT,
        "splits": [
            {
                "split": str, "n": int, "leaked": int, "exact": int, "near": int,
                "classes": [{"class": MAYBE_TEXT, "n": int, "exact": int, "near": int}],
            }
        ],
        "run": COPIES,
    },
    "split": SPLIT,
    "split the rest": SPLIT,
    "freeze": {"dataset": str, "frozen": str, "left_queues": int},
    "unfreeze": {"dataset": str, "frozen": type(None)},
    "export": {
        "dataset": str, "format": str, "destination": str, "version": int, "content_hash": str, "images": int,
        "excluded": int, "ambiguous": int, "unlabelled": int, "classes": COUNTS, "splits": COUNTS, "files": int,
        "missing": REFUSED,
    },
    "study list": {
        "saved": [{"name": str, "title": str, "source": str, "method": str, "runs": int}],
        "studies": [{"study": int, "name": str, "status": str, "ended": int}],
    },
    "study run": STUDY,
    "study search": STUDY,
    "study show": STUDY,
    "user add": {"user": str, "role": str},
    "user invite": {"role": str, "note": str, "expires_at": str, "url": str},
    "login-link": {"user": str, "url": str},
    "log": {
        "dataset": str,
        "lines": [
            {
                "line": int, "time": str, "user": str, "role": str, "kind": str, "verdict": str, "path": str,
                "class": str, "classes": [str], "text": str, "queue": str, "counts": bool, "action": str, "undoes": str,
                "seconds": MAYBE_NUMBER, "detail": dict,
            }
        ],
    },
    "check": {
        "ok": bool, "faults": [str],
        "datasets": [{"dataset": str, "images": int, "decisions": int, "differences": [{str: object}]}],
    },
    "backup": BACKED_UP | {"file": str, "bytes": int},
    "restore": BACKED_UP | {"home": str},
    "status": {
        "version": str, "home": str, "disk_bytes": int,
        "datasets": [
            {
                "dataset": str, "images": int, "decisions": int, "promoted_run": (int, type(None)),
                "queues": [{"queue": int, "recipe": str, "title": str, "open": int, "done": int}],
            }
        ],
        "jobs": [
            {"job": int, "kind": str, "title": str, "status": str, "done": int, "total": int, "message": str}
        ],
        "runs": [{"run": int, "status": str, "epochs_done": int, "alive": bool}],
    },
}  # fmt: skip


@pytest.mark.parametrize("name", CONTRACT)
def test_standard_output_is_one_document_with_these_keys(said: dict[str, Answer], name: str) -> None:
    answer = said[name]
    assert (answer.status, answer.err) == (0, "")
    assert faults(json.loads(answer.out), CONTRACT[name]) == []


def test_every_command_that_answers_is_held(said: dict[str, Answer]) -> None:
    assert set(said) == set(CONTRACT)


def test_the_numbers_are_those_of_the_drawn_data_set(said: dict[str, Answer]) -> None:
    imported = said["import"].document
    assert imported["classes"] == {"blank": 16, "columns": 17, "rows": 17}
    assert imported["splits"] == {"test": 12, "train": 26, "validation": 12}
    assert (imported["found"], imported["imported"], imported["exact_duplicates"]) == (51, 50, 1)
    assert imported["refused"] == [{"path": "train/columns/broken.png", "reason": "not an image (.png file)"}]
    assert said["scan"].document["scans"]["duplicates"] == {
        "dataset": "stripes", "images": 50, "pictures": 49, "compared": 49, "flat": 0, "unreadable": 0, "pairs": 1,
        "verdicts": 0, "exact_groups": 1, "near_groups": 1,
    }  # fmt: skip
    exact, near = said["duplicates"].document["groups"]
    assert (exact["kind"], exact["score"], exact["p"], exact["pairs"]) == ("exact", 1.0, 1.0, [])
    assert {image["path"]: image["label"] for image in exact["images"]} == {
        "train/blank/000.png": "blank",
        "train/columns/copy.png": "columns",
    }
    assert (near["kind"], near["conflicting"], near["spanning"]) == ("near", False, False)
    assert [image["path"] for image in near["images"]] == ["train/rows/000.png", "train/rows/brighter.png"]
    (pair,) = near["pairs"]
    assert (pair["how"], pair["p"] == near["p"], 8 < pair["transform"]["offset"] < 16) == ("hashes", True, True)
    assert [said[name].document["run"] for name in ("train", "train again")] == [1, 2]
    assert [len(row) for row in said["evaluate"].document["confusion"]] == [3, 3, 3]
    built = said["queue build"].document
    assert {key: built[key] for key in ("recipe", "size", "random", "without")} == {
        "recipe": "random", "size": 5, "random": 0, "without": None,
    }  # fmt: skip
    assert said["decide"].document["by"] == {"ambiguous": 1, "confirm": 1, "exclude": 1, "relabel": 1}
    exported = said["export"].document
    assert (exported["images"], exported["excluded"], exported["ambiguous"]) == (49, 1, 1)
    assert said["check"].document["ok"] is True


def test_the_same_holds_for_a_process_of_its_own(said: dict[str, Answer], folder: Path) -> None:
    command = [sys.executable, "-m", "workbench"]
    status = subprocess.run(
        [*command, "status", "--home", folder / "home", "--json"], capture_output=True, text=True, check=False
    )
    assert (status.returncode, status.stderr) == (0, "")
    assert json.loads(status.stdout)["datasets"] == said["status"].document["datasets"]
    refused = subprocess.run(
        [*command, "queue", "list", "--dataset", "nothing", "--home", folder / "home", "--json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("workbench: There is no data set “nothing”")


# --- refusals: (what is asked, exit status, words of the sentence)


REFUSALS: dict[str, tuple[tuple[str, ...], int, str]] = {
    "unknown data set": (("train", "--dataset", "nothing"), 1, "There is no data set “nothing”"),
    "unknown recipe": (("queue", "build", "magic", "--dataset", "stripes"), 1, "magic"),
    "unknown run": (("evaluate", "99"), 1, "There is no run 99"),
    "unknown queue": (("queue", "items", "99"), 1, "There is no queue 99"),
    "unknown user": (("login-link", "nobody"), 1, "There is no user “nobody”"),
    "a name that is taken": (("user", "add", "dora", "--role", "lead"), 1, "dora"),
    "an unknown run to compare with": (("evaluate", "1", "--against", "99"), 1, "There is no run 99"),
    "missing source": (("import", "/no/such/place", "--dataset", "new"), 1, "/no/such/place"),
    "missing pictures": (("predict", "1", "/no/such/place"), 1, "/no/such/place"),
    "missing verdicts": (("decide", "--dataset", "stripes", "--file", "/no/such.csv", "--as", "x"), 1, "/no/such.csv"),
    "missing backup": (("restore", "/no/such.tar.gz"), 1, "/no/such.tar.gz"),
    "shares beyond one": (
        ("split", "--dataset", "stripes", "--train", "0.9", "--validation", "0.9", "--test", "0.1"), 1, "1",
    ),
    "no share for test": (("split", "--dataset", "stripes", "--train", "0.9", "--validation", "0.1"), 2, "--test"),
    "an attribute that is not there": (
        ("split", "--dataset", "stripes", "--train", "1", "--validation", "0", "--test", "0", "--by", "age"), 1, "age",
    ),
    "a pattern without a group": (
        (
            "split", "--dataset", "stripes", "--train", "1", "--validation", "0", "--test", "0", "--family-pattern",
            "aug",
        ), 1, "one group",
    ),
    "nothing frozen": (("unfreeze", "--dataset", "stripes", "--reason", "x"), 1, "No split of stripes is frozen"),
    "unknown way to leave out": (("train", "--dataset", "stripes", "--set", "leave_out=all"), 1, "leave_out"),
    "unknown architecture": (("train", "--dataset", "stripes", "--arch", "magic"), 1, "magic"),
    "unknown setting": (("train", "--dataset", "stripes", "--set", "magic=1"), 1, "magic"),
    "wrong option": (("status", "--magic"), 2, "--magic"),
    "unknown command": (("magic",), 2, "magic"),
    "no data set named": (("train",), 2, "--dataset"),
    "a word for a number": (("evaluate", "one"), 2, "one"),
    "unknown format": (("export", "out", "--dataset", "stripes", "--format", "magic"), 2, "magic"),
    "unknown scan": (("scan", "magic", "--dataset", "stripes"), 2, "magic"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
@pytest.mark.parametrize("as_json", [True, False])
def test_a_refusal_is_one_sentence_on_standard_error(
    said: dict[str, Answer], folder: Path, name: str, as_json: bool
) -> None:
    words, status, sentence = REFUSALS[name]
    before = said["status"].document["datasets"]
    answer = run(folder / "home", *words, as_json=as_json)
    assert (answer.status, answer.out) == (status, "")
    assert sentence in answer.err
    assert "Traceback" not in answer.err
    if status == 1:
        assert answer.err.startswith("workbench: ")
        assert answer.err.count("\n") == 1
    assert run(folder / "home", "status").document["datasets"] == before


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("rows/999.png,confirm,", "rows/999.png"),
        ("train/rows/000.png,maybe,", "maybe"),
        ("train/rows/000.png,relabel,stars", "stars"),
        ("train/rows/000.png,ambiguous,rows", "two or more classes"),
    ],
)
def test_one_bad_line_decides_nothing(said: dict[str, Answer], folder: Path, line: str, words: str) -> None:
    file = folder / "bad.csv"
    file.write_text(f"path,verdict,class\ntrain/columns/000.png,confirm,\n{line}\n")
    answer = run(folder / "home", "decide", "--dataset", "stripes", "--file", file, "--as", "carol")
    assert (answer.status, answer.out) == (1, "")
    assert "line 3" in answer.err
    assert words in answer.err
    assert answer.err.count("\n") == 1
    assert run(folder / "home", "status").document["datasets"] == said["status"].document["datasets"]
