"""`workbench control`."""

from typing import Any

import click

from workbench.cli.frame import ProgressBar, Workbench, command
from workbench.cli.runs import tell_accuracy
from workbench.models import Dataset
from workbench.queries import runs as queries
from workbench.services import controls, users


@command("control")
@click.argument("before", type=int)
@click.argument("after", type=int)
def control(bench: Workbench, before: int, after: int) -> None:
    """Train the settings of run AFTER on the labels of run BEFORE, to tell curation from retraining."""
    found = _train(bench, before, after)
    told = f"Run {found['run']}, the control of runs {before} and {after}. {tell_accuracy(found['test'])}"
    bench.answer(found, f"{told}\nNext: workbench evaluate {after} --against {before} tells the two apart.")


def _train(bench: Workbench, before: int, after: int) -> dict[str, Any]:
    with ProgressBar() as progress:
        from workbench.worker.context import Context
        from workbench.worker.trainings import train

        with bench.database.write() as session:
            run_a, run_b = (queries.get_run(session, run_id) for run_id in (before, after))
            run = controls.add_control(session, user=users.ensure_admin(session), run_a=run_a, run_b=run_b)
            run_id, arch, dataset = run.id, run.arch, session.get_one(Dataset, run.dataset_id).name
        bench.record("run_started", dataset=dataset, run=run_id, arch=arch)
        return train(Context(bench.database, bench.home, progress), dataset=dataset, run=run_id)
