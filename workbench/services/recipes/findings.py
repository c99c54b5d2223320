"""Images of which a scan says something: blurred, no face, unlike the others."""

from typing import Any

import numpy as np

from workbench.errors import Invalid
from workbench.models import FINDINGS
from workbench.services.recipes.pool import Candidates, Pool, Recipe


def find(pool: Pool, *, kind: str | None = None) -> Candidates:
    """Those that nobody has decided on, the gravest first; with several findings by the gravest of them."""
    row_of = {int(image_id): row for row, image_id in enumerate(pool.image_ids)}
    said: dict[int, list[str]] = {}
    scores: dict[int, float] = {}
    for each in pool.findings:
        if each.image in row_of and kind in (None, each.kind):
            row = row_of[each.image]
            said.setdefault(row, []).append(f"{FINDINGS[each.kind].capitalize()}: {each.reason}.")
            scores[row] = max(scores.get(row, 0.0), each.score)
    rows = sorted(scores, key=lambda row: (-scores[row], row))

    def reason(item: int) -> str:
        row = rows[item]
        return f"{' '.join(said[row])} It is {pool.labelled(row)}."

    return Candidates(
        image_ids=pool.image_ids[rows],
        scores=np.array([scores[row] for row in rows], np.float32),
        reason=reason,
    )


def read_kind(value: Any) -> str:
    kind = str(value).strip().lower().replace("-", "_")
    if kind not in FINDINGS:
        raise Invalid(f"“{value}” is not a kind of finding; use {', '.join(FINDINGS)}.")
    return kind


def title(_pool: Pool, *, kind: str | None = None) -> str:
    return "Findings" if kind is None else FINDINGS[kind].capitalize()


RECIPE = Recipe(
    about="Blurred, dark, without a face, unlike the others: what scans found, the gravest first.",
    find=find,
    title=title,
    params={"kind": read_kind},
    needs_run=False,
    needs_findings=True,
    flags=lambda params: params.get("kind") in (None, "outlier"),  # a model says which images are unlike the others
)
