"""The search for near copies against planted ones, beside other people's tools on the same pictures in the same run.

    python benchmarks/duplicates.py folder IMAGES --seed 0 --out OUT [--peers FOLDER] [--held-out]
    python benchmarks/duplicates.py photographs PHOTOGRAPHS... --seed 0 --out OUT
    python benchmarks/duplicates.py judge OUT
    python benchmarks/duplicates.py calibration OUT...
    python benchmarks/duplicates.py growth IMAGES
    python benchmarks/duplicates.py robustness

`folder` plants altered copies among the distinct images of a folder (or an .npy of them), `photographs` among small
pictures cut out of large colour photographs. Both write results.json and what the search found into OUT; `folder` adds
contact sheets of the pairs that nobody planted, since a real data set holds copies of its own: note verdicts in
OUT/sheets/verdicts.csv, then run `judge`. Development uses seeds 0 to 9, acceptance seeds from 1000 on.
docs/duplicates.md says more and has the results.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks import growth, robustness
from benchmarks.contenders import CONTENDERS
from benchmarks.photographs import cut_pictures, list_photographs
from benchmarks.planted import FAMILIES, HELD_OUT, HELD_OUT_COLOUR, Family, Planted, plant
from benchmarks.processes import get_reason, measure
from benchmarks.scoring import (
    Bin,
    Found,
    Truth,
    calibration_error,
    choose_threshold,
    count_grouped,
    count_recalled,
    format_recall,
    tabulate_reliability,
    wilson,
)
from benchmarks.sheets import as_columns, estimate_precision, read_verdicts, tabulate_strata, write_sheets
from ml.dedup.chance import probability, refit
from ml.images import decode

Picture = NDArray[np.uint8]

WORKBENCH = "workbench"
_ROOT = Path(__file__).resolve().parent.parent
_MIN_P = 0.5
_PRECISION = 0.99
_VERDICTS, _DRAWS = 100, 20
_SHOWN_P = 0.1  # pairs that nobody planted are shown to a person from here on


@dataclass(frozen=True)
class Measured:
    """What one contender did: its answer, its CPU seconds by stage and in all, its peak memory."""

    found: Found
    stages: Mapping[str, float]
    cpu_s: float
    peak_mib: float


def read_pictures(source: Path) -> list[Picture]:
    """The distinct pictures of a folder of images, or of an .npy of shape (N, H, W) or (N, H, W, 3)."""
    if source.suffix == ".npy":
        pictures = list(np.load(source))
    else:
        files = sorted(path for path in source.rglob("*") if path.is_file())
        pictures = [decode(file.read_bytes()) for file in files]
    return list({(picture.shape, picture.tobytes()): picture for picture in pictures}.values())


def choose_families(*, held_out: bool, colour: bool) -> dict[str, Family]:
    if not held_out:
        return dict(FAMILIES)
    return {**HELD_OUT, **(HELD_OUT_COLOUR if colour else {})}


def join(pictures: Sequence[Picture], planted: Planted) -> tuple[list[Picture], Truth]:
    """The originals followed by the copies, and which is whose."""
    count = len(pictures) + len(planted.pictures)
    copies = np.arange(len(pictures), count)
    return [*pictures, *planted.pictures], Truth(planted.rows, copies, planted.families, count)


def write_pictures(folder: Path, pictures: Sequence[Picture]) -> None:
    for row, picture in enumerate(pictures):
        swapped = picture[:, :, ::-1] if picture.ndim == 3 else picture  # OpenCV writes blue first
        cv2.imwrite(str(folder / f"{row:07}.png"), swapped)


def run_contender(name: str, folder: Path, out: Path) -> Measured | None:
    """None where what it needs is not installed."""
    arguments = [sys.executable, "-m", "benchmarks.contenders", name, str(folder), str(out)]
    try:
        cpu_s, peak_mib, printed = measure(arguments)
    except subprocess.CalledProcessError as error:
        if "ModuleNotFoundError" not in error.stderr:
            raise SystemExit(f"{error.stderr}\n{name} failed: {get_reason(error)}") from None
        print(f"{name}: not measured, {get_reason(error)}", file=sys.stderr)
        return None
    return Measured(read_found(out), json.loads(printed), cpu_s, peak_mib)


def read_found(file: Path) -> Found:
    with np.load(file) as stored:
        return Found(**stored)


def run_all(pictures: Sequence[Picture], out: Path, names: Sequence[str]) -> dict[str, Measured]:
    """Every contender over the same files, one after the other, each on one core."""
    measured = {}
    with tempfile.TemporaryDirectory() as folder:
        write_pictures(Path(folder), pictures)
        for name in names:
            print(f"{name} ...", file=sys.stderr)
            done = run_contender(name, Path(folder), out / f"{name}.npz")
            if done:
                measured[name] = done
    return measured


def summarise(
    name: str, done: Measured, truth: Truth, *, right: Collection[int], is_judge: bool = False
) -> dict[str, Any]:
    """One row of the table: recall by family at the method's own threshold, speed, memory.

    right: keys of the pairs that count as right. is_judge: the method gave them itself, so its precision says nothing.
    """
    if name == WORKBENCH:
        threshold, chosen = _MIN_P, done.found.p >= _MIN_P
    else:
        threshold = choose_threshold(done.found, right, precision=_PRECISION)
        chosen = done.found.score >= threshold
    keys = done.found.keys()[chosen].tolist()
    return {
        "method": name,
        "threshold": threshold,
        "recall": count_recalled(truth, keys),
        "pairs": len(keys),
        "right": None if is_judge else len(set(keys) & set(right)),
        "cpu_s": done.cpu_s,
        "stages": dict(done.stages),
        "images_per_cpu_s": truth.count / done.cpu_s,
        "peak_mib": done.peak_mib,
    }


def print_table(rows: Sequence[Sequence[object]]) -> None:
    """The first row is the head; columns as wide as they need to be, set off as Markdown does."""
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in texts) for column in range(len(texts[0]))]
    for number, row in enumerate(texts):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |")
        if number == 0:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")


def print_summaries(summaries: Sequence[Mapping[str, Any]]) -> None:
    head = ["method", "precision", *summaries[0]["recall"], "images/CPU-s", "CPU s", "peak MiB"]
    rows = [
        [
            summary["method"],
            "judge" if summary["right"] is None else f"{summary['right'] / max(summary['pairs'], 1):.3f}",
            *format_recall(summary["recall"]),
            f"{summary['images_per_cpu_s']:,.0f}",
            f"{summary['cpu_s']:.1f}",
            f"{summary['peak_mib']:,.0f}",
        ]
        for summary in summaries
    ]
    print_table([head, *rows])
    for summary in summaries:
        stages = ", ".join(f"{name} {seconds:.1f}" for name, seconds in summary["stages"].items())
        print(f"{summary['method']}: threshold {summary['threshold']:g}, {summary['pairs']:,} pairs; CPU s: {stages}")


def compare_speed(summaries: Sequence[Mapping[str, Any]]) -> None:
    seconds = {summary["method"]: summary["cpu_s"] for summary in summaries}
    for name, taken in seconds.items():
        if name != WORKBENCH:
            print(f"CPU time of {name} / {WORKBENCH}: {taken / seconds[WORKBENCH]:.1f}")


def note_groups(done: Measured, truth: Truth) -> None:
    """What became of the copies: how many stand in a group with their original, how many were lost and where."""
    found = done.found
    sizes = np.bincount(found.group[found.group >= 0])
    together, planted = count_grouped(truth, found), len(truth.copies)
    print(f"{len(sizes):,} groups, the largest of {sizes.max(initial=0)}; {together} of {planted} copies with theirs")
    compared = count_recalled(truth, found.keys().tolist())
    sure = count_recalled(truth, found.keys()[found.p >= _MIN_P].tolist())
    lost = {name: (total - seen, seen - sure[name][0]) for name, (seen, total) in compared.items()}
    told = [f"{name} {unseen} + {unsure}" for name, (unseen, unsure) in lost.items() if unseen or unsure]
    print(f"lost, never compared + compared but P < {_MIN_P}: {', '.join(told) or 'none'}")


def prepare(pictures: list[Picture], arguments: argparse.Namespace) -> tuple[list[Picture], Truth]:
    families = choose_families(held_out=arguments.held_out, colour=any(picture.ndim == 3 for picture in pictures))
    rng = np.random.default_rng([arguments.seed, 1])
    planted = plant(pictures, families, count=min(arguments.count, len(pictures) // 2), rng=rng)
    arguments.out.mkdir(parents=True, exist_ok=True)
    print(f"{len(planted.pictures):,} copies of {len(families)} families planted among {len(pictures):,} pictures")
    return join(pictures, planted)


def save(out: Path, truth: Truth, summaries: Sequence[Mapping[str, Any]], **facts: Any) -> None:
    np.savez(out / "truth.npz", originals=truth.originals, copies=truth.copies, families=truth.families)
    (out / "results.json").write_text(json.dumps({**facts, "methods": summaries}, indent=1))


def read_truth(out: Path) -> Truth:
    with np.load(out / "truth.npz") as stored:
        count = len(read_found(out / f"{WORKBENCH}.npz").group)
        return Truth(stored["originals"], stored["copies"], stored["families"].tolist(), count)


def run_folder(arguments: argparse.Namespace) -> None:
    """Real data with copies of its own: what the workbench gives P >= 0.5 counts as right for the other tools."""
    pictures, truth = prepare(read_pictures(arguments.source), arguments)
    measured = run_all(pictures, arguments.out, arguments.methods)
    ours = measured[WORKBENCH].found
    right = {*truth.keys().tolist(), *ours.keys()[ours.p >= _MIN_P].tolist()}
    summaries = [
        summarise(name, done, truth, right=right, is_judge=name == WORKBENCH) for name, done in measured.items()
    ]
    print_summaries(summaries)
    compare_speed(summaries)
    note_groups(measured[WORKBENCH], truth)
    extra = np.flatnonzero(~np.isin(ours.keys(), truth.keys()) & (ours.p >= _SHOWN_P))
    print(f"{(ours.p[extra] >= _MIN_P).sum():,} pairs with P >= {_MIN_P} were not planted")
    save(arguments.out, truth, summaries, seed=arguments.seed, pictures=truth.count, held_out=arguments.held_out)
    if arguments.sheets:
        write_sheets(arguments.out / "sheets", pictures, ours, extra, count=arguments.sheets, seed=arguments.seed)
        print(f"contact sheets and verdicts.csv are in {arguments.out / 'sheets'}")


def run_photographs(arguments: argparse.Namespace) -> None:
    """No two pictures show the same, so a pair that was not planted is wrong."""
    files = list_photographs(arguments.source)
    cut = cut_pictures(files, rng=np.random.default_rng([arguments.seed, 0]))
    distinct = list({(picture.shape, picture.tobytes()): picture for picture in cut}.values())
    pictures, truth = prepare(distinct, arguments)
    measured = run_all(pictures, arguments.out, arguments.methods)
    right = set(truth.keys().tolist())
    summaries = [summarise(name, done, truth, right=right) for name, done in measured.items()]
    print(f"out of {len(files)} photographs")
    print_summaries(summaries)
    compare_speed(summaries)
    note_groups(measured[WORKBENCH], truth)
    print_precision(summaries[0])
    save(arguments.out, truth, summaries, seed=arguments.seed, pictures=truth.count, held_out=arguments.held_out)
    ours = measured[WORKBENCH].found
    wrong = np.flatnonzero(~np.isin(ours.keys(), truth.keys()) & (ours.p >= _SHOWN_P))
    if arguments.sheets and len(wrong):
        write_sheets(arguments.out / "sheets", pictures, ours, wrong, count=arguments.sheets, seed=arguments.seed)


def print_precision(summary: Mapping[str, Any]) -> None:
    right, pairs = summary["right"], summary["pairs"]
    low, high = wilson(right, pairs)
    print(
        f"precision at P >= {_MIN_P}: {right} of {pairs} = {right / max(pairs, 1):.4f} (95 %: {low:.4f} to {high:.4f})"
    )


def run_judge(arguments: argparse.Namespace) -> None:
    """What the verdicts say about the pairs that nobody planted, and the recall at the threshold that they ask for."""
    found, truth = read_found(arguments.out / f"{WORKBENCH}.npz"), read_truth(arguments.out)
    judged = read_verdicts(arguments.out / "sheets")
    rows: list[list[object]] = [["P from", "to", "right", "judged", "95 %"]]
    for low, high, hits, trials in tabulate_strata(judged):
        rows.append([low, high, hits, trials, "{:.3f} to {:.3f}".format(*wilson(hits, trials))])
    print_table(rows)
    planted = np.isin(found.keys(), truth.keys())
    for min_p in (_MIN_P, 0.7, 0.9, 0.97, 0.99):
        share, low, high, trials = estimate_precision(judged, min_p=min_p)
        recall = count_recalled(truth, found.keys()[found.p >= min_p].tolist())
        extra, known = int(((found.p >= min_p) & ~planted).sum()), int(((found.p >= min_p) & planted).sum())
        print(
            f"P >= {min_p}: precision {share:.4f} (95 %: {low:.4f} to {high:.4f}) of {extra:,} pairs not planted, "
            f"{trials} judged; {(share * extra + known) / max(extra + known, 1):.4f} with the planted ones; recall "
            f"{recall['all'][0] / recall['all'][1]:.4f}, of the worst family {min(_shares(recall)):.3f}"
        )
    p, right, weights = as_columns(judged)
    print_reliability("real pairs, by the verdicts", tabulate_reliability(p, right, weights))
    print_refit(p, right, weights)


def _shares(recall: Mapping[str, tuple[int, int]]) -> list[float]:
    return [hits / trials for hits, trials in recall.values()]


def print_reliability(title: str, table: Sequence[Bin]) -> None:
    shown = [row for row in table if row.low >= _SHOWN_P]
    print(
        f"{title}: expected calibration error {calibration_error(table):.4f}, "
        f"{calibration_error(shown):.4f} of the pairs with P >= {_SHOWN_P}"
    )
    rows = [[f"{b.low:.1f}-{b.high:.1f}", f"{b.weight:,.0f}", f"{b.mean_p:.3f}", f"{b.share:.3f}"] for b in table]
    print_table([["P", "pairs", "mean P", "right"], *rows])


def run_calibration(arguments: argparse.Namespace) -> None:
    """P of everything that the search compared in runs of `photographs`, against what was planted."""
    for out in arguments.out:
        found, truth = read_found(out / f"{WORKBENCH}.npz"), read_truth(out)
        right = np.isin(found.keys(), truth.keys())
        print_reliability(str(out), tabulate_reliability(found.p, right))
        print_refit(found.p, right, np.ones(len(right)))


def print_refit(p: NDArray[np.floating], right: NDArray[np.bool_], weights: NDArray[np.floating]) -> None:
    """What verdicts on 100 of the pairs that a reviewer would be shown do to P of all the others, over 20 draws."""
    shown = np.flatnonzero(p >= _SHOWN_P)
    odds = np.log(np.clip(p, 1e-7, 1 - 1e-7) / np.clip(1 - p, 1e-7, 1)).astype(np.float32)
    errors = []
    for draw in range(_DRAWS):
        drawn = np.random.default_rng(draw).permutation(shown)
        judged, rest = drawn[:_VERDICTS], drawn[_VERDICTS:]
        refitted = probability(odds[rest], calibration=refit(odds[judged], right[judged], background=0.0))
        tables = [tabulate_reliability(values, right[rest], weights[rest]) for values in (p[rest], refitted)]
        errors.append([calibration_error(table) for table in tables])
    before, after = np.mean(errors, axis=0)
    worse = sum(refitted > plain + 0.005 for plain, refitted in errors)
    print(
        f"ECE of the other pairs with P >= {_SHOWN_P}: {before:.4f}; refitted on {_VERDICTS} verdicts: {after:.4f} "
        f"(mean of {_DRAWS} draws; worse by more than 0.005 in {worse})"
    )


def run_growth(arguments: argparse.Namespace) -> None:
    """CPU time and memory of the search for candidates among 7,000 to 1,000,000 planted pictures."""
    growth.run(read_pictures(arguments.like), arguments.sizes)


def run_robustness(arguments: argparse.Namespace) -> None:
    """Time and memory of the whole search over data that it may choke on."""
    robustness.run(arguments.cases)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, run, count in (("folder", run_folder, 2000), ("photographs", run_photographs, 1000)):
        command = add_command(commands, name, run)
        command.add_argument("source", type=Path, nargs=None if name == "folder" else "+")
        command.add_argument("--seed", type=int, required=True, help="0 to 9 while building, from 1000 on to accept")
        command.add_argument("--out", type=Path, required=True)
        command.add_argument("--count", type=int, default=count, help="copies to plant")
        command.add_argument("--held-out", action="store_true", help="families that were not used for building")
        command.add_argument("--methods", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
        command.add_argument("--peers", type=Path, help="a folder that imagededup and matplotlib are installed in")
        command.add_argument("--sheets", type=int, default=300, help="pairs to show on contact sheets")
    add_command(commands, "judge", run_judge).add_argument("out", type=Path)
    add_command(commands, "calibration", run_calibration).add_argument("out", type=Path, nargs="+")
    sizes = add_command(commands, "growth", run_growth)
    sizes.add_argument("like", type=Path, help="images that the planted ones take after")
    sizes.add_argument("sizes", type=int, nargs="*", default=growth.SIZES)
    cases = add_command(commands, "robustness", run_robustness)
    cases.add_argument("cases", nargs="*", default=list(robustness.CASES))
    return parser.parse_args()


def add_command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    run: Callable[[argparse.Namespace], None],
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=(run.__doc__ or "").strip())
    command.set_defaults(run=run)
    return command


def set_environment(peers: Path | None) -> None:
    """One thread for every process that is measured, and where to import from."""
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", OPENCV_FOR_THREADS_NUM="1")
    places = [str(_ROOT), *([str(peers.resolve())] if peers else [])]
    os.environ["PYTHONPATH"] = os.pathsep.join(places)


def main() -> None:
    arguments = parse()
    set_environment(getattr(arguments, "peers", None))
    arguments.run(arguments)


if __name__ == "__main__":
    main()
