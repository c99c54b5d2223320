"""Recipes of queues, one file each. To add one: copy the nearest, name it here."""

from workbench.errors import Invalid
from workbench.services.recipes import (
    active,
    chosen,
    cold_start,
    confusion,
    contradicted,
    disagreement,
    disputed,
    filtered,
    findings,
    flipped,
    folds,
    label_issues,
    near_duplicates,
    random_sample,
    uncertain,
)
from workbench.services.recipes.pool import Recipe

RECIPES: dict[str, Recipe] = {
    "label_issues": label_issues.RECIPE,
    "confusion": confusion.RECIPE,
    "uncertain": uncertain.RECIPE,
    "active": active.RECIPE,
    "cold_start": cold_start.RECIPE,
    "disagreement": disagreement.RECIPE,
    "flipped": flipped.RECIPE,
    "folds": folds.RECIPE,
    "contradicted": contradicted.RECIPE,
    "disputed": disputed.RECIPE,
    "findings": findings.RECIPE,
    "near_duplicates": near_duplicates.RECIPE,
    "random": random_sample.RECIPE,
    "filter": filtered.RECIPE,
    "chosen": chosen.RECIPE,
}

# as the form offers them: what they are good for -> which
GROUPS: dict[str, tuple[str, ...]] = {
    "Find wrong labels": ("label_issues", "confusion"),
    "Look where opinions differ": ("disagreement", "flipped", "folds", "contradicted", "disputed"),
    "Teach the model": ("active", "uncertain", "cold_start"),
}
_OTHERS = "Measure and tidy up"


def list_offered() -> dict[str, dict[str, Recipe]]:
    """What home offers, by what it is good for."""
    offered = {name: recipe for name, recipe in RECIPES.items() if recipe.is_offered and not recipe.needs_matches}
    grouped = {words: {name: offered.pop(name) for name in names} for words, names in GROUPS.items()}
    return {**grouped, _OTHERS: offered}


def read_recipe(name: str) -> str:
    """The registered name for what a user wrote; a hyphen is as good as an underscore."""
    found = name.strip().lower().replace("-", "_")
    if found not in RECIPES:
        raise Invalid(f"“{name}” is not a recipe; use {', '.join(each.replace('_', '-') for each in RECIPES)}.")
    return found
