"""`workbench check`, `workbench backup`, `workbench restore`, `workbench status`."""

import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from sqlalchemy.orm import Session

from workbench import __version__
from workbench.cli.frame import ProgressBar, Workbench, command
from workbench.models import Dataset
from workbench.queries import datasets as dataset_queries
from workbench.queries import upkeep as queries
from workbench.services import backups, checks, runs

_SHOWN_DIFFERENCES = 20


@command("check")
@click.option("--dataset", metavar="NAME", help="Only this one; default: all.")
def check(bench: Workbench, dataset: str | None) -> None:
    """Replay the log of decisions and compare every stored state with it. Exit status 1 where they differ."""
    with bench.database.read() as session:
        chosen = dataset_queries.get_dataset(session, dataset) if dataset else None
        report = checks.check(session, chosen)
    document = {
        "ok": report.ok,
        "faults": list(report.faults),
        "datasets": [
            {**asdict(each), "differences": [asdict(found) for found in each.differences]} for each in report.datasets
        ],
    }
    bench.answer(document, _tell_check(report))
    if not report.ok:
        sys.exit(1)


def _tell_check(report: checks.CheckReport) -> str:
    lines = [f"Fault in the database: {fault}" for fault in report.faults]
    for each in report.datasets:
        verdict = f"{len(each.differences):,} differences" if each.differences else "all rows agree with the log"
        lines.append(f"{each.dataset}: {each.images:,} images, {each.decisions:,} decisions; {verdict}.")
        lines += [f"  {found.sentence}" for found in each.differences[:_SHOWN_DIFFERENCES]]
        if len(each.differences) > _SHOWN_DIFFERENCES:
            lines.append("  ... all of them with --json")
    return "\n".join(lines) or "There are no data sets yet."


@command("backup")
@click.argument("file", type=click.Path(path_type=Path))
def backup(bench: Workbench, file: Path) -> None:
    """Write the whole installation to FILE (.zip, .tar or .tar.gz); safe while it is served."""
    bench.database  # noqa: B018 - makes or migrates it
    with ProgressBar(unit="file") as progress:
        manifest = backups.make_backup(bench.home, file, version=__version__, on_progress=progress)
    bench.record("backup", file=file.name)
    size_bytes = file.stat().st_size
    bench.answer(
        {"file": str(file), "bytes": size_bytes, **manifest},
        f"Backed up {manifest['files']:,} files to {file} ({_show_bytes(size_bytes)}). "
        "Images that were imported in place are not in it: their files stay where they are.",
    )


@command("restore")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Replace what the home holds.")
def restore(bench: Workbench, file: Path, force: bool) -> None:
    """Make the home what FILE holds. Stop serving it first."""
    with ProgressBar(unit="file") as progress:
        manifest = backups.restore_backup(bench.home, file, force=force, on_progress=progress)
    with bench.database.write() as session:
        queries.requeue_running_jobs(session)
    bench.record("restore", file=file.name)
    bench.answer(
        {"home": str(bench.home.root), **manifest},
        f"Restored {manifest['files']:,} files of {manifest['made_at'][:16]} to {bench.home.root}.",
    )


@command("status")
def status(bench: Workbench) -> None:
    """What is in this home and what is running."""
    with bench.database.read() as session:
        document = {
            "version": __version__,
            "home": str(bench.home.root),
            "datasets": _list_datasets(session),
            "jobs": _list_jobs(session),
            "runs": _list_runs(session, bench),
            "disk_bytes": _count_bytes(bench.home.root),
        }
    bench.answer(document, _tell_status(document))


def _list_datasets(session: Session) -> list[dict[str, Any]]:
    images = queries.count_images(session)
    return [
        {
            "dataset": dataset.name,
            "images": images.get(dataset.id, 0),
            "decisions": queries.count_decisions(session, dataset_id=dataset.id),
            "promoted_run": dataset.promoted_run_id,
            "queues": _list_queues(session, dataset),
        }
        for dataset in dataset_queries.list_datasets(session)
    ]


def _list_queues(session: Session, dataset: Dataset) -> list[dict[str, Any]]:
    counts = queries.list_queue_counts(session, dataset_id=dataset.id)
    return [
        {"queue": id_, "recipe": recipe, "title": title, "open": open_, "done": done}
        for id_, recipe, title, open_, done in counts
    ]


def _list_jobs(session: Session) -> list[dict[str, Any]]:
    keys = ("kind", "title", "status", "done", "total", "message")
    return [
        {"job": job.id, **{key: getattr(job, key) for key in keys}} for job in queries.list_unfinished_jobs(session)
    ]


def _list_runs(session: Session, bench: Workbench) -> list[dict[str, Any]]:
    return [
        {
            "run": run.id,
            "status": run.status,
            "epochs_done": run.epochs_done,
            "alive": run.status == "running" and runs.is_alive(bench.home, run.id),
        }
        for run in queries.list_unfinished_runs(session)
    ]


def _count_bytes(root: Path) -> int:
    total = 0
    for parent, _, files in os.walk(root):
        for file in files:
            try:
                total += (Path(parent) / file).stat().st_size
            except FileNotFoundError:
                continue
    return total


def _tell_status(document: dict[str, Any]) -> str:
    lines = [
        f"Curation Workbench {document['version']}, home {document['home']}, {_show_bytes(document['disk_bytes'])}."
    ]
    for each in document["datasets"]:
        shown = f"run {each['promoted_run']} promoted" if each["promoted_run"] else "no run yet"
        lines.append(f"{each['dataset']}: {each['images']:,} images, {each['decisions']:,} decisions, {shown}.")
        lines += [f"  queue {q['queue']}, {q['title']}: {q['open']:,} open, {q['done']:,} done" for q in each["queues"]]
    if not document["datasets"]:
        lines.append("No data sets yet: workbench import SOURCE --dataset NAME")
    lines += [
        f"Job {job['job']}, {job['title']}: {job['status']}, {job['done']:,} of {job['total']:,}"
        for job in document["jobs"]
    ]
    for run in document["runs"]:
        state = (
            "training now"
            if run["alive"]
            else f"{run['status']}, not being trained: the same train command goes on with it"
        )
        lines.append(f"Run {run['run']}: {state} ({run['epochs_done']} epochs done).")
    return "\n".join(lines)


def _show_bytes(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
