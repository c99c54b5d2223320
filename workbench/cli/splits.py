"""`workbench split`, `workbench leaks`, `workbench freeze`, `workbench unfreeze`."""

from typing import Any

import click

from workbench.cli.frame import ProgressBar, Workbench, command
from workbench.errors import Invalid
from workbench.queries import datasets as dataset_queries
from workbench.queries import runs as run_queries
from workbench.services import freezing, splits, users
from workbench.services import leaks as leak_services


@command("split")
@click.option("--dataset", required=True, help="Name of the data set.")
@click.option("--train", type=float, required=True, help="Share of the images, 0 to 1.")
@click.option("--validation", type=float, required=True, help="Share of the images, 0 to 1.")
@click.option("--test", type=float, default=None, help="Share of the images, 0 to 1; needed unless test is kept.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Another seed, another split.")
@click.option("--by", multiple=True, metavar="ATTRIBUTE", help="Spread its values like the classes; repeatable.")
@click.option("--family", metavar="ATTRIBUTE", help="The attribute that names the parent of an augmentation.")
@click.option("--family-pattern", metavar="REGEX", help="Finds the parent in a file name, like (.+?)_aug[0-9]+.")
@click.option("--test-from-existing", is_flag=True, help="Leave test as it is (the frozen split, if one is).")
@click.option("--dry-run", is_flag=True, help="Say what would come of it and change nothing.")
def split(
    bench: Workbench, dataset: str, test: float | None, by: tuple[str, ...], *, test_from_existing: bool, dry_run: bool,
    **asked: Any,
) -> None:  # fmt: skip
    """Split anew by class; copies and augmentations of one picture stay together. One undo takes it back."""
    from workbench.worker.context import Context
    from workbench.worker.splits import build_split, describe_plan

    if test is None and not test_from_existing:
        raise click.UsageError("Give --test a share, or keep what is there with --test-from-existing.")
    asked |= {"test": test or 0.0, "by": by}
    with bench.database.read() as session:
        found = dataset_queries.get_dataset(session, dataset)
        if test_from_existing:
            asked["keep"] = found.frozen_split or "test"
        if dry_run:
            plan = splits.plan_split(session, dataset=found, request=splits.SplitRequest(**asked))
    if dry_run:
        document = {**describe_plan(dataset, plan), "applied": False}
    else:
        with ProgressBar(unit="step") as progress:
            context = Context(bench.database, bench.home, progress)
            document = {**build_split(context, dataset=dataset, **asked), "applied": True}
        bench.record("split", dataset=dataset)
    bench.answer(document, _tell(document))


def _tell(document: dict[str, Any]) -> str:
    sizes = ", ".join(f"{name} {count:,}" for name, count in document["splits"].items())
    moved = f"{document['changed']:,} images {'moved' if document['applied'] else 'would move'}"
    lines = [f"{sizes}; {moved}, {document['groups_kept']:,} groups of copies and families kept together."]
    if document["family_images"]:
        lines.append(f"{document['family_images']:,} images stand in {document['families_kept']:,} families.")
    if document["set_aside"]:
        lines.append(f"{document['set_aside']:,} images are in no split: their copies stand in the split that is kept.")
    lines.append(f"No class is further than {document['deviation']:.1f} images from its share.")
    return "\n".join(lines)


@command("leaks")
@click.option("--dataset", required=True, help="Name of the data set.")
@click.option("--run", "run_id", type=int, metavar="RUN", help="Whose accuracy (default: the promoted run).")
@click.option("--split", type=click.Choice(leak_services.MEASURING), help="Default: what the run was measured on.")
@click.option("--min-p", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="P(same picture) at least.")
def leaks(bench: Workbench, dataset: str, run_id: int | None, split: str | None, min_p: float) -> None:
    """Images that measure and have a copy among those that teach, and what that does to the accuracy."""
    with bench.database.read() as session:
        found = dataset_queries.get_dataset(session, dataset)
        run = run_queries.get_run(session, run_id) if run_id else run_queries.get_promoted(session, found)
        if run is not None and run.dataset_id != found.id:
            raise Invalid(f"Run {run.id} belongs to another data set.")
        names = {cls.id: cls.name for cls in dataset_queries.list_classes(session, found.id)}
        about_splits = leak_services.list_split_leaks(session, found, min_p=min_p)
        about_run = leak_services.measure_run(session, bench.home, run, split=split, min_p=min_p) if run else None
        document = leak_services.report(found, about_splits, about_run, names=names, min_p=min_p)
    bench.answer(document, _tell_leaks(document))


def _tell_leaks(document: dict[str, Any]) -> str:
    lines = []
    for each in document["splits"]:
        share = f"{each['leaked']:,} of {each['n']:,} images have a copy in train"
        lines.append(f"{each['split']}: {share} ({each['exact']:,} exact, {each['near']:,} near).")
        worst = sorted(each["classes"], key=lambda cls: -(cls["exact"] + cls["near"]))
        lines += [
            f"  {cls['class'] or 'no label'}: {cls['exact'] + cls['near']:,} of {cls['n']:,}"
            for cls in worst
            if cls["exact"] + cls["near"]
        ]
    if not lines:
        lines = ["There is no validation or test split: build splits with workbench split."]
    if not document["scanned"]:
        lines.append("Near copies were not looked for yet: run workbench scan duplicates.")
    if document["run"]:
        lines.append(document["run"]["sentence"])
    return "\n".join(lines)


@command("freeze")
@click.option("--dataset", required=True, help="Name of the data set.")
@click.option("--split", type=click.Choice(freezing.MEASURING), help="Default: test, or validation without one.")
@click.option("--reason", default="", help="Kept in the history.")
def freeze(bench: Workbench, dataset: str, split: str | None, reason: str) -> None:
    """Freeze the split that runs are measured on: from then on only evaluation reads it."""
    with bench.database.write() as session:
        found = dataset_queries.get_dataset(session, dataset)
        gone = freezing.freeze(session, dataset=found, user=users.ensure_admin(session), split=split, reason=reason)
        document = {"dataset": dataset, "frozen": found.frozen_split, "left_queues": gone}
    bench.answer(document, f"{document['frozen']} of {dataset} is frozen; {gone:,} items left the queues of flags.")


@command("unfreeze")
@click.option("--dataset", required=True, help="Name of the data set.")
@click.option("--reason", required=True, help="Kept in the history for good.")
def unfreeze(bench: Workbench, dataset: str, reason: str) -> None:
    """Let the frozen split go."""
    with bench.database.write() as session:
        found = dataset_queries.get_dataset(session, dataset)
        freezing.unfreeze(session, dataset=found, user=users.ensure_admin(session), reason=reason)
    bench.answer({"dataset": dataset, "frozen": None}, f"No split of {dataset} is frozen any more.")
