"""Images that went away without a word: from the data set, or from what a run is measured on."""

from workbench.queries import datasets as dataset_queries
from workbench.queries import run_checks as queries
from workbench.queries import runs as run_queries
from workbench.services.leaks import Rate
from workbench.services.run_checks.facts import Facts
from workbench.services.run_checks.outcomes import Outcome, fine, plural, unchecked, wrong
from workbench.services.runs import HELD_OUT, is_held_out

UNREADABLE = 0.01  # of the version's images; more is a data set that lost its files


def check_coverage(facts: Facts) -> Outcome:
    """Labelled images of the split that the run says nothing about."""
    split, known = facts.split, set(facts.said.image_ids.tolist())
    open_ids = [cls.id for cls in dataset_queries.list_open_classes(facts.session, facts.dataset.id)]
    rows = run_queries.list_labelled(
        facts.session,
        dataset_id=facts.dataset.id,
        class_ids=open_ids,
        split=None if split == HELD_OUT else split,
    )
    newest = facts.run.config.get("last_image", max(known, default=0))  # what was imported later is not missing
    rows = [row for row in rows if row.image_id <= newest and (split != HELD_OUT or is_held_out(row.pixel_sha256))]
    missing = sum(row.image_id not in known for row in rows)
    if not rows:
        return unchecked(f"There is no labelled image in {split}.")
    unreadable = facts.run.config.get("counts", {}).get("unreadable", 0)
    share = missing / len(rows)
    if missing > unreadable or share > UNREADABLE:
        return wrong(_tell_missing(facts, missing, len(rows)))
    rest = f"; {missing:,} could not be read" if missing else ""
    return fine(f"All {len(rows) - missing:,} labelled images of {split} have a prediction{rest}.")


def _tell_missing(facts: Facts, missing: int, count: int) -> str:
    """With what the accuracy of all would be at worst and at best."""
    right = int(facts.table.trace())
    worst, best = Rate(count, right).accuracy, Rate(count, min(count, right + missing)).accuracy
    return (
        f"{missing:,} of the {plural(count, 'labelled image')} of {facts.split} ({missing / count:.1%}) have no "
        f"prediction and are in no figure: of all, something from {worst:.1%} to {best:.1%} is right."
    )


def check_vanished(facts: Facts) -> Outcome:
    """Images that an import brought and that no decision took away, yet are not there."""
    arrivals = queries.list_arrivals(facts.session, facts.dataset.id)
    gone = sum(max(0, each.imported - each.present) for each in arrivals)
    came = sum(each.imported for each in arrivals)
    if gone:
        return wrong(
            f"{plural(gone, 'image')} of the {came:,} that were imported are gone, and no decision says why: "
            "whatever is counted now is counted on another data set."
        )
    claimed = facts.claims.get("images")
    present = sum(each.present for each in arrivals)
    if claimed is not None and int(claimed) != present:
        return wrong(
            f"{int(claimed):,} images are said to have gone in and the data set holds {present:,}: "
            f"{abs(present - int(claimed)):,} {'vanished' if int(claimed) < present else 'came'} without a reason."
        )
    return fine("Every image that was imported is there; those excluded are in the log with who and why.")
