"""`workbench explain`, `workbench stress`."""

from typing import Any

import click

from workbench.cli.frame import ProgressBar, Workbench, command
from workbench.models import Dataset
from workbench.queries import runs as queries
from workbench.services import saliency
from workbench.services import stress as stresses


@command("explain")
@click.argument("run", type=int)
def explain(bench: Workbench, run: int) -> None:
    """Map where a run looks in every image (Grad-CAM), and test whether that is what its predictions rest on."""
    with ProgressBar() as progress:
        from workbench.worker.context import Context
        from workbench.worker.explaining import explain_run

        found = explain_run(Context(bench.database, bench.home, progress), run=run, dataset=_name(bench, run))
    bench.record("run_explained", dataset=found["dataset"], run=run)
    maps = f"{found['images']:,} maps of run {run}, {found['grid']} x {found['grid']} places each."
    bench.answer(found, f"{maps}\n{saliency.judge_test(found).sentence}")


@command("stress")
@click.argument("run", type=int)
def stress(bench: Workbench, run: int) -> None:
    """Measure a run on images made worse in five ways, and on images without their top, eyes, lower half, or a band."""
    with ProgressBar(unit="step") as progress:
        from workbench.worker.context import Context
        from workbench.worker.stressing import stress_run

        found = stress_run(Context(bench.database, bench.home, progress), run=run, dataset=_name(bench, run))
    bench.record("run_stressed", dataset=found["dataset"], run=run)
    bench.answer(found, _tell(found))


def _name(bench: Workbench, run: int) -> str:
    with bench.database.read() as session:
        return session.get_one(Dataset, queries.get_run(session, run).dataset_id).name


def _tell(found: dict[str, Any]) -> str:
    lines = [f"Run {found['run']} on {found['n']:,} images of {found['split']}: {_words(found['plain'])}"]
    for curve in found["curves"]:
        lines.append(f"{curve['title']} ({curve['unit']})")
        lines += [f"  {point['strength']:>6g}  {_words(point)}" for point in curve["points"]]
    lines.append("Hidden at test only")
    lines += [f"  {row['mask']:<14}  {_words(row)}" for row in (*found["regions"], *found["bands"])]
    return "\n".join([*lines, stresses.say_weakest(found)])


def _words(point: dict[str, Any]) -> str:
    change = f", {100 * point['change']:+.1f} points" if point["change"] else ""
    return f"{100 * point['accuracy']:.1f} % [{100 * point['low']:.1f}, {100 * point['high']:.1f}]{change}"
