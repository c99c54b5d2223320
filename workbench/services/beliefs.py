"""What the posterior says of one image, and why, for those who look at it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from workbench.config import Home
from workbench.models import Class, Image
from workbench.services.posteriors import Posteriors, find_posteriors


@dataclass(frozen=True)
class Belief:
    shares: list[tuple[Class, float]]  # the likeliest classes, most first
    why: str  # one sentence about the verdicts that speak for it
    verdicts: int  # that all of it was learned from

    @property
    def best(self) -> Class:
        return self.shares[0][0]


def find_belief(
    home: Home, run_id: int | None, image: Image, by_id: Mapping[int, Class], *, limit: int = 3
) -> Belief | None:
    """None without verdicts to learn from, for images that nobody could judge, and once somebody has decided.

    Costs a look into arrays that stay in memory.
    """
    if run_id is None or image.label_source != "imported" or image.status != "active":
        return None
    learned = find_posteriors(home, run_id)
    row = learned.find(image.id) if learned else None
    if learned is None or row is None or np.isnan(learned.p_wrong[row]):
        return None
    probs = learned.probs[row].astype(np.float32)
    order = np.argsort(-probs, kind="stable")[:limit].tolist()
    found = [(by_id.get(int(learned.class_ids[column])), float(probs[column])) for column in order]
    shares = [(cls, p) for cls, p in found if cls is not None and (p >= 0.005 or cls.id == image.label_id)]
    why = explain(learned, by_id.get(image.first_label_id or 0), by_id)
    return Belief(shares, why, learned.verdicts) if shares else None


def explain(learned: Posteriors, given: Class | None, by_id: Mapping[int, Class]) -> str:
    """What became of the images with the same label that reviewers looked at."""
    columns = learned.class_ids.tolist()
    if given is None or given.id not in columns or len(learned.said) == 0:
        return ""
    column = columns.index(given.id)
    counts = learned.said[column].copy()
    looked, right = int(counts.sum()), int(counts[column])
    if looked == 0:
        return f"Nobody has looked at an image labelled {given.name} yet, so the model's word counts."
    counts[column] = 0
    most = int(counts.argmax())
    wrong = f"{looked - right:,} were something else"
    if most < len(columns) and counts[most] > 0:
        cls = by_id.get(columns[most])
        wrong += f", most often {cls.name} ({int(counts[most]):,})" if cls else ""
    return f"Of {looked:,} images labelled {given.name} that reviewers looked at, {wrong}."
