"""`workbench train` and `workbench predict`; evaluating is in evaluations.py."""

from pathlib import Path
from typing import Any

import click

from workbench.cli.frame import ProgressBar, Workbench, command
from workbench.cli.promoting import tell_promotion
from workbench.errors import Invalid
from workbench.services import runs


@command("train")
@click.option("--dataset", required=True, help="Name of the data set.")
@click.option("--arch", help="Name of an architecture; compact, or that of the run it starts from, if not given.")
@click.option("--preset", type=click.Choice(runs.PRESETS), default="quick", show_default=True, help="How long.")
@click.option("--epochs", type=click.IntRange(min=1), help="Passes over the images, instead of the preset's.")
@click.option("--folds", default=0, show_default=True, help="Predict the training images by cross-validation, 2 to 20.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Equal seeds, equal runs.")
@click.option("--from", "from_run", type=int, metavar="RUN", help="Start from the weights of this run.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="A setting or a data step (docs/training.md); repeatable.",
)
@click.option(
    "--promote", is_flag=True, help="Show it on the pages if it is not worse than the run there (the first is, anyway)."
)
def train(bench: Workbench, dataset: str, settings: tuple[str, ...], **asked: Any) -> None:
    """Train a model on the present labels. Run again after a kill, it goes on where it was."""
    with ProgressBar() as progress:
        from workbench.worker.context import Context
        from workbench.worker.trainings import train as train_run

        context = Context(bench.database, bench.home, progress)
        found = train_run(context, dataset=dataset, settings=parse_settings(settings), **asked)
    bench.record("run_started", dataset=dataset, run=found["run"], arch=found["arch"])
    bench.answer(found, _tell_training(found))


def parse_settings(settings: tuple[str, ...]) -> dict[str, str]:
    """KEY=VALUE pairs as a dict."""
    pairs = [text.partition("=") for text in settings]
    for key, equals, _ in pairs:
        if not key or not equals:
            raise click.BadParameter("write KEY=VALUE, for example learning_rate=0.05", param_hint="--set")
    return {key.strip(): value.strip() for key, _, value in pairs}


def _tell_training(found: dict[str, Any]) -> str:
    counts, speed = found["counts"], found["images_per_second"]
    passes = f", {found['epochs']} epochs" if found["epochs"] else ""
    work = f"{found['arch']}{passes} on {counts['trained']:,} images"
    time = f"{found['seconds']:.0f} s ({speed:,.0f} images/s)"
    lines = [f"Run {found['run']}: {work} in {time}.", tell_accuracy(found["test"])]
    if counts["leaked"]:
        lines.append(f"{counts['leaked']:,} training images were left out: they are copies of images measured on.")
    if counts["unreadable"]:
        lines.append(f"{counts['unreadable']:,} images could not be read: {', '.join(counts['unreadable_paths'][:3])}")
    if found["promotion"]:
        lines.append(tell_promotion(found["promotion"]))
    if found["promoted"]:
        lines.append("Next: review the queues (workbench serve), then train again and compare.")
    elif found["promotion"]:
        lines.append(f"Next: workbench promote {found['run']} --reason TEXT, if it is to be shown all the same.")
    else:
        lines.append(f"Next: workbench evaluate {found['run']} --against RUN, or train with --promote to show it.")
    return "\n".join(lines)


def tell_accuracy(measured: dict[str, Any]) -> str:
    """Accuracy with its interval, n and what guessing would reach."""
    if not measured["n"]:
        return "There was no image to measure it on: build splits with workbench split, and train again."
    baseline = measured["baseline"]
    interval = f"95 % interval {measured['low']:.1%} to {measured['high']:.1%}"
    return (
        f"Accuracy {measured['accuracy']:.1%} ({interval}, n = {measured['n']:,}, {measured['split']}); "
        f"always saying {baseline['class']} gives {baseline['accuracy']:.1%}."
    )


def check_exists(source: Path) -> None:
    if not source.exists():
        raise Invalid(f"There is no file or folder “{source}”.")


def tell_refused(refused: list[dict[str, str]]) -> list[str]:
    return [f"{each['path']}\trefused: {each['reason']}" for each in refused]


@command("predict")
@click.argument("run", type=int)
@click.argument("source", type=click.Path(path_type=Path))
def predict(bench: Workbench, run: int, source: Path) -> None:
    """What RUN sees in an image, or in every image of a folder, zip archive or CSV file."""
    check_exists(source)
    with ProgressBar() as progress:
        from workbench.worker.context import Context
        from workbench.worker.predicting import predict_source

        found = predict_source(Context(bench.database, bench.home, progress), run=run, source=str(source))
    if not found["images"] and len(found["refused"]) == 1:
        raise Invalid(f"“{source}” cannot be read: {found['refused'][0]['reason']}.")
    lines = [f"{image['path']}\t{image['predicted']}\t{image['confidence']:.1%}" for image in found["images"]]
    lines += tell_refused(found["refused"])
    bench.answer(found, "\n".join(lines) or "There are no images.")
