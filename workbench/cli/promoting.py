"""`workbench promote`."""

from typing import Any

import click

from workbench.cli.frame import ProgressBar, Workbench, command


@command("promote")
@click.argument("run", type=int)
@click.option("--reason", default="", metavar="TEXT", help="Promote it whatever the test says; kept with the run.")
def promote(bench: Workbench, run: int, reason: str) -> None:
    """Show RUN's predictions on the pages, if it is not worse than the run that they show now."""
    with ProgressBar() as progress:
        from workbench.worker.context import Context
        from workbench.worker.promoting import promote_by_hand

        promotion = promote_by_hand(Context(bench.database, bench.home, progress), run, reason=reason)
    found = {"run": run, "promoted": promotion["promoted"], "promotion": promotion}
    bench.answer(found, f"Run {run}. {tell_promotion(promotion)}")


def tell_promotion(promotion: dict[str, Any]) -> str:
    """What became of it, and by which test."""
    from workbench.services import promotions

    lines = (
        [promotions.tell(promotion), promotion["sentence"]] if promotion["against"] else [promotions.tell(promotion)]
    )
    if promotion["promoted"]:
        lines.append("Its predictions are on the pages and its queues are open.")
    return " ".join(lines)
