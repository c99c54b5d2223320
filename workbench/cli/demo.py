"""`workbench demo`."""

import time

import click

from workbench.cli.frame import ProgressBar, Workbench, command
from workbench.cli.serve import run
from workbench.queries.datasets import get_dataset
from workbench.queries.planted import get_planted
from workbench.serving import free_port


@command("demo")
@click.option("--port", default=8000, show_default=True, help="The next free one is taken if this one is not.")
@click.option("--no-browser", is_flag=True, help="Do not open a browser.")
def demo(bench: Workbench, port: int, *, no_browser: bool) -> None:
    """A small real data set, scanned, trained, queues open, served."""
    build(bench)
    run(bench, host="127.0.0.1", port=free_port("127.0.0.1", port), workers=1, open_browser=not no_browser)


def build(bench: Workbench) -> None:
    """Make the demo's data set unless it is there, and say what its queues found of what was planted."""
    from workbench.worker import demo as work
    from workbench.worker.context import Context

    began = time.monotonic()
    with ProgressBar() as progress:
        context = Context(database=bench.database, home=bench.home, progress=progress)
        if not work.is_built(context):
            bench.say(
                "Building the demo: 1,877 handwritten digits, imported, scanned, trained on in six small trainings …"
            )
            work.build(context)
            bench.say(f"Built in {time.monotonic() - began:.0f} s. {work.PLANTED_TEXT}.")
    _say_what_was_found(bench, work.DATASET)


def _say_what_was_found(bench: Workbench, name: str) -> None:
    with bench.database.read() as session:
        found = get_planted(session, get_dataset(session, name).id)
    if found:
        bench.say(
            f"Of the first {found.wrong_labels} images of its label-issue queue "
            f"{found.in_queue_top} carry a planted wrong label."
        )
