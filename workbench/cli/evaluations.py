"""`workbench evaluate`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from workbench.cli.frame import ProgressBar, Workbench, command
from workbench.cli.run_checks import ask_model, tell_checks
from workbench.cli.runs import check_exists, tell_accuracy, tell_refused
from workbench.queries import runs as queries
from workbench.services import evaluation_reports, gains
from workbench.services.run_checks import check_run, report_checks


@command("evaluate")
@click.argument("run", type=int)
@click.option("--split", type=click.Choice(("train", "validation", "test")), help="Default: what it was measured on.")
@click.option("--by", metavar="ATTRIBUTE", help="Also tell apart the images by this attribute.")
@click.option("--against", type=int, metavar="RUN", help="Compare with this run, on the same images and labels.")
@click.option("--on", "source", type=click.Path(path_type=Path), help="A labelled source outside the data set.")
def evaluate(
    bench: Workbench, run: int, split: str | None, by: str | None, against: int | None, source: Path | None
) -> None:
    """Measure RUN on the newest labels."""
    if source is not None:
        if split or against or by:
            raise click.UsageError("--on goes with neither --split nor --by nor --against.")
        found = _evaluate_on(bench, run, source)
    else:
        ask_model(bench, run)
        with bench.database.read() as session:
            chosen = queries.get_run(session, run)
            found = evaluation_reports.report_evaluation(session, bench.home, chosen, split=split, by=by)
            if against is not None:
                other = queries.get_run(session, against)
                found["against"] = gains.compare_and_explain(
                    session, bench.home, run_a=other, run_b=chosen, split=found["split"]
                )
            found["checks"] = report_checks(check_run(session, bench.home, chosen))
    bench.answer(found, "\n".join(_tell_evaluation(found)))


def _evaluate_on(bench: Workbench, run: int, source: Path) -> dict[str, Any]:
    check_exists(source)
    with ProgressBar() as progress:
        from workbench.worker.context import Context
        from workbench.worker.predicting import evaluate_source

        return evaluate_source(Context(bench.database, bench.home, progress), run=run, source=str(source))


def _tell_evaluation(found: dict[str, Any]) -> Iterator[str]:
    yield f"Run {found['run']}. {tell_accuracy(found)}"
    yield f"Macro F1 {_percent(found, 'macro_f1')}; AUC {_percent(found, 'auc')}; first two {_percent(found, 'top2')}."
    yield (
        f"Log loss {found['log_loss']:.3f}; the shares of the classes alone give {found['baseline']['log_loss']:.3f}. "
        f"Calibration error {found['ece']:.3f}; chance alone makes {found['ece_calibrated']:.3f}."
    )
    width = max(len(row["name"]) for row in found["per_class"])
    for row in found["per_class"]:
        recall = "no images" if row["recall"] is None else f"{row['recall']:6.1%} of {row['support']:,} found"
        yield f"  {row['name']:<{width}}  {recall}"
    if found.get("votes"):
        votes = found["votes"]
        yield (
            f"Cross-entropy to the votes {votes['cross_entropy']:.3f}; the votes alone have {votes['floor']:.3f} "
            f"(n = {votes['n']:,})."
        )
    if found.get("scaled"):
        scaled = found["scaled"]
        yield (
            f"With temperature {scaled['temperature']:.2f} ({scaled['how']}): calibration error {scaled['ece']:.3f}, "
            f"log loss {scaled['log_loss']:.3f}."
        )
    if found.get("coverage"):
        yield _tell_coverage(found["coverage"][-1])
    if found.get("copies"):
        yield found["copies"]["sentence"]
    if "groups" in found:
        yield from _tell_groups(found["groups"])
    if "against" in found:
        yield found["against"]["sentence"]
        if found["against"]["gain"]:
            yield found["against"]["gain"]["sentence"]
    if "checks" in found:
        yield from tell_checks(found["checks"])
    yield from tell_refused(found.get("refused", []))


def _tell_coverage(stage: dict[str, Any]) -> str:
    kept = sum(part["n"] for part in stage["parts"] if part["kept"])
    lost = ", ".join(f"{part['n']:,} {part['part']}" for part in stage["parts"] if not part["kept"])
    return f"{stage['stage']}: {stage['n']:,}, of which {kept:,} are tested on{f' ({lost})' if lost else ''}."


def _percent(found: dict[str, Any], name: str) -> str:
    if found[name] is None:
        return "cannot be said"
    return f"{found[name]:.1%} [{100 * found[f'{name}_low']:.1f}, {100 * found[f'{name}_high']:.1f}]"


def _tell_groups(found: dict[str, Any]) -> Iterator[str]:
    width = max(len(group["value"]) for group in found["groups"])
    yield f"By {found['by']}:"
    for group in found["groups"]:
        p = "" if group["p_holm"] is None else f", corrected p = {group['p_holm']:.2g}"
        interval = f"[{100 * group['low']:.1f}, {100 * group['high']:.1f}]"
        yield f"  {group['value']:<{width}}  {group['accuracy']:6.1%} {interval} of {group['n']:,}{p}"
    yield found["sentence"]
