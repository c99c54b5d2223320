"""Whether a run can be believed: every trap that the reference projects fell into, as a check. One family a file.

To add one: write `check_<name>(facts) -> Outcome` in the nearest file, name it in CHECKS, rebuild the trap in
tests/test_run_checks.py, describe it in docs/checks.md.
"""

from collections.abc import Callable
from typing import Any

from sqlalchemy.orm import Session

from workbench.config import Home
from workbench.errors import NotFound
from workbench.models import Run
from workbench.services.run_checks import (
    classes,
    cleaning,
    copies,
    coverage,
    files,
    maps,
    masks,
    model,
    numbers,
    probabilities,
    ranking,
    rows,
)
from workbench.services.run_checks.facts import EXTERNAL, Facts
from workbench.services.run_checks.outcomes import STATUSES, Outcome, unchecked

CHECKS: dict[str, tuple[str, Callable[[Facts], Outcome]]] = {  # name -> what it looks for, how
    "order": ("Shuffled rows", rows.check_order),
    "columns": ("Class order", rows.check_columns),
    "collapse": ("One class for all", classes.check_collapse),
    "classes": ("Classes unknown to it", classes.check_classes),
    "probabilities": ("Probabilities that are none", probabilities.check_probabilities),
    "in_sample": ("Images seen before", probabilities.check_in_sample),
    "copies": ("Copies on both sides", copies.check_copies),
    "families": ("Split after augmentation", copies.check_families),
    "conflicts": ("One picture, two labels", copies.check_conflicts),
    "half_removed": ("Copies half removed", copies.check_half_removed),
    "coverage": ("Silent drops", coverage.check_coverage),
    "vanished": ("Vanished images", coverage.check_vanished),
    "own_flags": ("Cleaned by its own flags", cleaning.check_own_flags),
    "source": ("Two sources for a number", numbers.check_source),
    "claims": ("Figures claimed", numbers.check_claims),
    "fractions": ("Shares of nothing", numbers.check_fractions),
    "ranking": ("A tie called a win", ranking.check_ranking),
    "model": ("Best or final model", model.check_model),
    "normalisation": ("Double normalisation", model.check_normalisation),
    "augmented": ("Augmented when measured", model.check_augmented),
    "settings": ("Settings without effect", model.check_settings),
    "frozen": ("Layers that never learn", model.check_frozen),
    "twins": ("Same answers, other settings", model.check_twins),
    "masks": ("Masked on one side", masks.check_masks),
    "stacked_masks": ("Stacked masks", masks.check_stacked_masks),
    "maps": ("Maps that mark nothing", maps.check_maps),
    "endings": ("Renamed files", files.check_endings),
    "repeatable": ("Files that are not there", files.check_repeatable),
}

__all__ = ["CHECKS", "EXTERNAL", "STATUSES", "Facts", "Outcome", "check_run", "report_checks"]


def check_run(session: Session, home: Home, run: Run) -> dict[str, Outcome]:
    """Every check of a run that is done, by name. Reads the split it is measured on and the data set's pixel hashes."""
    facts = Facts(session, home, run)
    return {name: _carry_out(check, facts) for name, (_, check) in CHECKS.items()}


def _carry_out(check: Callable[[Facts], Outcome], facts: Facts) -> Outcome:
    try:
        return check(facts)
    except NotFound as error:
        return unchecked(str(error))


def report_checks(outcomes: dict[str, Outcome]) -> list[dict[str, Any]]:
    """What `workbench evaluate --json` answers: what is wrong first."""
    return [
        {"check": name, "status": outcome.status, "sentence": outcome.sentence}
        for status in ("wrong", "unchecked", "fine")
        for name, outcome in outcomes.items()
        if outcome.status == status
    ]
