"""`workbench scan`, `workbench findings`."""

from typing import Any

import click

from workbench.cli.frame import ProgressBar, Workbench, command
from workbench.models import FINDINGS, Dataset
from workbench.queries import datasets
from workbench.queries import findings as queries
from workbench.services.predictions import load_predictions

_KINDS = ("duplicates", "quality", "faces", "outliers")


@command("scan")
@click.argument("what", metavar="[duplicates|quality|faces|outliers|all]")
@click.option("--dataset", required=True, help="Name of the data set.")
def scan(bench: Workbench, what: str, dataset: str) -> None:
    """Look at every image: near duplicates, quality, faces, outliers. `all` leaves outliers out without a run."""
    from workbench.worker.context import Context
    from workbench.worker.scans import SCANS

    with bench.database.read() as session:
        kinds = _read_kinds(bench, what, datasets.get_dataset(session, dataset))
    results = {}
    for kind in kinds:
        with ProgressBar() as progress:
            context = Context(bench.database, bench.home, progress=progress)
            results[kind] = SCANS[kind](context, dataset=dataset)
    bench.record("scan" if "duplicates" in kinds else "looked", dataset=dataset)
    lines = [f"{kind}: {_summarise(results[kind])}" for kind in kinds]
    bench.answer({"dataset": dataset, "scans": results}, "\n".join(lines))


def _read_kinds(bench: Workbench, what: str, dataset: Dataset) -> list[str]:
    if what == "all":
        run_id = dataset.promoted_run_id
        can_compare = run_id is not None and load_predictions(bench.home, run_id).features.any()
        return [kind for kind in _KINDS if kind != "outliers" or can_compare]
    if what not in _KINDS:
        raise click.UsageError(f"“{what}” is not a scan; use {', '.join([*_KINDS, 'all'])}.")
    return [what]


def _summarise(result: dict[str, Any]) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in result.items() if key != "dataset")


@command("findings")
@click.option("--dataset", required=True, help="Name of the data set.")
@click.option("--kind", type=click.Choice(list(FINDINGS)), help="Only this kind.")
@click.option("--limit", type=click.IntRange(0), default=100, show_default=True, help="Images listed at most.")
def findings(bench: Workbench, dataset: str, kind: str | None, limit: int) -> None:
    """What scans found: counts by kind, and the open ones, the gravest first."""
    with bench.database.read() as session:
        found = datasets.get_dataset(session, dataset)
        tallies = queries.count_by_kind(session, found.id)
        listed = [row._asdict() for row in queries.list_open(session, found.id, kind=kind, limit=limit)]
    counts = {
        name: {"open": tallies[name].open, "settled": tallies[name].settled, "hits": tallies[name].hits}
        for name in FINDINGS
        if name in tallies and kind in (None, name)
    }
    lines = [f"{FINDINGS[name]}: {each['open']} open, {each['settled']} settled" for name, each in counts.items()]
    document = {"dataset": dataset, "kinds": counts, "findings": listed}
    bench.answer(document, "\n".join(lines) or "Nothing was found, or no scan was made: workbench scan all.")
