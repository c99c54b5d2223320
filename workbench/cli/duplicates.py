"""`workbench duplicates`."""

from typing import Any

import click

from workbench.cli.frame import Workbench, command
from workbench.models import DuplicatePair
from workbench.models.transforms import describe
from workbench.queries import datasets, duplicate_pages
from workbench.queries import duplicates as queries
from workbench.queries.duplicates import GroupCounts, GroupImages


@command("duplicates")
@click.option("--dataset", required=True, help="Name of the data set.")
@click.option(
    "--kind", type=click.Choice(["exact", "near", "all"]), default="all", show_default=True, help="Which groups."
)
@click.option("--min-p", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="P(same picture) at least.")
@click.option("--open", "only_open", is_flag=True, help="Only groups that wait for a verdict.")
def duplicates(bench: Workbench, dataset: str, kind: str, min_p: float, only_open: bool) -> None:
    """The groups of images that are one picture; `all` shows each image in one group only."""
    chosen = None if kind == "all" else kind
    state = "open" if only_open else "all"
    with bench.database.read() as session:
        found = datasets.get_dataset(session, dataset)
        groups = queries.list_groups(session, found.id, kind=chosen, state=state, min_p=min_p, limit=None)
        counts = queries.count_groups(session, found.id, kind=chosen, state=state, min_p=min_p)
        pairs = duplicate_pages.list_pairs_by_group(session, [each.group.id for each in groups])
        described = [_describe_group(each, pairs.get(each.group.id, [])) for each in groups]
        document = {**_describe_counts(counts), "groups": described}
    bench.answer(document, _print_counts(counts))


def _describe_counts(counts: GroupCounts) -> dict[str, int]:
    return {
        "images": counts.images,
        "redundant": counts.redundant,
        "spanning": counts.spanning,
        "conflicting": counts.conflicting,
        "open": counts.open,
    }


def _describe_group(found: GroupImages, pairs: list[DuplicatePair]) -> dict[str, Any]:
    group = found.group
    return {
        "group": group.id,
        "kind": group.kind,
        "score": group.score,
        "p": group.p,
        "conflicting": group.conflicting,
        "spanning": group.spanning,
        "verdict": group.verdict,
        "images": [
            {
                "id": image.id,
                "path": image.path,
                "label": image.label.name if image.label else None,
                "split": image.split,
                "status": image.status,
                "pixels": image.pixel_sha256,
            }
            for image in found.images
        ],
        "pairs": [
            {
                "a": pair.a_id,
                "b": pair.b_id,
                "how": pair.how,
                "p": pair.p,
                "transform": pair.transform,
                "words": describe(pair.transform),
            }
            for pair in pairs
        ],
    }


def _print_counts(counts: GroupCounts) -> str:
    return (
        f"{counts.groups} groups of {counts.images} images, {counts.redundant} of them redundant; "
        f"{counts.spanning} groups span splits, {counts.conflicting} carry different labels, {counts.open} are open."
    )
