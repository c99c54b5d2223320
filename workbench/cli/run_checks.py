"""The checks of a run, for people on a command line."""

from typing import Any

from workbench.cli.frame import ProgressBar, Workbench
from workbench.queries import runs as queries
from workbench.services.probes import is_probed


def ask_model(bench: Workbench, run_id: int) -> None:
    """Let the run's model answer again where it has not, so that its checks can tell all they could."""
    with bench.database.read() as session:
        is_done = queries.get_run(session, run_id).status == "done"
    if not is_done or is_probed(bench.home, run_id):
        return
    with ProgressBar() as progress:
        from workbench.worker.context import Context
        from workbench.worker.probing import probe_run

        probe_run(Context(bench.database, bench.home, progress), run=run_id)


def tell_checks(checks: list[dict[str, Any]]) -> list[str]:
    """What is wrong, a line each; how many were carried out and found nothing."""
    found = [each for each in checks if each["status"] == "wrong"]
    carried_out = sum(each["status"] != "unchecked" for each in checks)
    summary = f"{carried_out} checks, {'nothing found' if not found else f'{len(found)} found something'}."
    return [summary, *(f"  ✗ {each['sentence']}" for each in found)]
