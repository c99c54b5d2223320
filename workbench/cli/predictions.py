"""`workbench predictions import`: what a model elsewhere said, measured and checked like a run of our own."""

from pathlib import Path
from typing import Any

import click

from workbench.cli.frame import ProgressBar, Workbench, command
from workbench.cli.run_checks import tell_checks
from workbench.cli.runs import tell_accuracy
from workbench.models import SPLITS


@click.group()
def predictions() -> None:
    """Predictions that were made elsewhere."""


@command("import", group=predictions)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--dataset", required=True, metavar="NAME", help="The data set whose images it predicts.")
@click.option("--split", type=click.Choice(SPLITS), help="What to measure it on. Default: test, else validation.")
@click.option("--unseen", is_flag=True, help="No image was predicted by a model that was trained on it.")
@click.option("--claim", "claims", multiple=True, metavar="KEY=VALUE", help="A figure said of it; repeatable.")
@click.option("--claims", "claims_file", metavar="FILE", help="A JSON file of such figures.")
def import_(
    bench: Workbench,
    file: Path,
    dataset: str,
    split: str | None,
    unseen: bool,
    claims: tuple[str, ...],
    claims_file: str | None,
) -> None:
    """Read FILE, a path and a probability for each class in a row, as a run without a model."""
    with ProgressBar() as progress:
        from workbench.worker.context import Context
        from workbench.worker.external import import_predictions

        found = import_predictions(
            Context(bench.database, bench.home, progress),
            dataset=dataset,
            source=str(file),
            split=split,
            unseen=unseen,
            claims=_parse_claims(claims),
            claims_file=claims_file,
        )
    bench.record("run_started", dataset=dataset, run=found["run"], arch="external")
    bench.answer(found, _tell(found))


def _parse_claims(claims: tuple[str, ...]) -> dict[str, str]:
    pairs = [text.partition("=") for text in claims]
    for key, equals, _ in pairs:
        if not key or not equals:
            raise click.BadParameter("write KEY=VALUE, for example accuracy=0.62", param_hint="--claim")
    return {key.strip(): value.strip() for key, _, value in pairs}


def _tell(found: dict[str, Any]) -> str:
    lines = [f"Run {found['run']}: predictions of {found['matched']:,} images.", tell_accuracy(found["test"])]
    if found["unknown"]:
        lines.append(f"{found['unknown']:,} rows name images that the data set does not have.")
    return "\n".join([*lines, *tell_checks(found["checks"])])
