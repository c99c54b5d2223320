"""Regions that are blank in some pictures and not in others, and masks over pictures that are masked already."""

from typing import Any

from workbench.services.run_checks.facts import Facts
from workbench.services.run_checks.outcomes import Outcome, fine, unchecked, wrong

LEAST_IMAGES = 20
ROWS = 0.1  # of the height
UNIFORM = 0.12  # of the picture


def check_masks(facts: Facts) -> Outcome:
    """A mask that was applied to the images trained on only, or to those measured on only."""
    blank = _read(facts)
    if blank is None:
        return unchecked(f"Not known: {facts.unprobed}.")
    if min(blank["trained"]["images"], blank["measured"]["images"]) < LEAST_IMAGES:
        return unchecked("There are too few images to compare what is hidden in them.")
    for measure, least, words in (("rows", ROWS, "of the height is blank"), ("uniform", UNIFORM, "is of one value")):
        trained, measured = blank["trained"][measure], blank["measured"][measure]
        if abs(trained - measured) >= least:
            return wrong(
                f"The images are not masked alike: {trained:.0%} {words} in those trained on and {measured:.0%} in "
                f"those measured on ({facts.split}), so the figure is about another task than the one learnt."
            )
    return fine("Images trained on and measured on are hidden alike, or not at all.")


def check_stacked_masks(facts: Facts) -> Outcome:
    """A mask over pictures of which a part is hidden already: both count, and the run is called by one."""
    blank = _read(facts)
    if blank is None:
        return unchecked(f"Not known: {facts.unprobed}.")
    mask, hidden = blank["mask"], blank["outside"]
    if mask == "none":
        return fine("The training hides no region.")
    if hidden >= ROWS and blank["trained"]["images"] >= LEAST_IMAGES:
        return wrong(
            f"Masks are stacked: besides the region that mask={mask} hides, {hidden:.0%} of the height was blank in "
            "the images already, so the figure is not that of this mask alone."
        )
    return fine(f"mask={mask} hides its region and nothing else is hidden.")


def _read(facts: Facts) -> dict[str, Any] | None:
    return facts.probe.blank or None if facts.probe else None
