"""Recipes of queues, one file each. To add one: copy the nearest, name it here."""

from workbench.errors import Invalid
from workbench.services.recipes import (
    confusion,
    disagreement,
    filtered,
    flipped,
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
    "disagreement": disagreement.RECIPE,
    "flipped": flipped.RECIPE,
    "near_duplicates": near_duplicates.RECIPE,
    "random": random_sample.RECIPE,
    "filter": filtered.RECIPE,
}


def read_recipe(name: str) -> str:
    """The registered name for what a user wrote; a hyphen is as good as an underscore."""
    found = name.strip().lower().replace("-", "_")
    if found not in RECIPES:
        raise Invalid(f"“{name}” is not a recipe; use {', '.join(each.replace('_', '-') for each in RECIPES)}.")
    return found
