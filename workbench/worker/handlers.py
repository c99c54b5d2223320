"""Which function carries out which kind of job. Named, not imported: a worker that only imports never loads torch."""

import importlib
from collections.abc import Callable
from typing import Any

from workbench.worker.context import Context

HANDLERS = {
    "import": "workbench.worker.imports:import_source",
    "scan": "workbench.worker.scans:scan_duplicates",
    "findings": "workbench.worker.findings:scan_findings",
    "train": "workbench.worker.trainings:train",
    "probe": "workbench.worker.probing:probe_again",
    "export": "workbench.worker.exports:export_dataset",
    "split": "workbench.worker.splits:build_split",
    "study": "workbench.worker.studies:run_study",
    "queue": "workbench.worker.choosing:choose_queue",
    "consensus": "workbench.worker.consensus:build_consensus",
    "explain": "workbench.worker.explaining:explain_run",
    "stress": "workbench.worker.stressing:stress_run",
    "map": "workbench.worker.mapping:make_map",
    "learn": "workbench.worker.learning:learn",
    "bought": "workbench.worker.buying:weigh",
}


def handle(context: Context, kind: str, params: dict[str, Any]) -> dict[str, Any]:
    """Carry out one job; every handler may be run again after a kill and then goes on where it stopped."""
    module, function = HANDLERS[kind].split(":")
    handler: Callable[..., dict[str, Any]] = getattr(importlib.import_module(module), function)
    return handler(context, **params)
