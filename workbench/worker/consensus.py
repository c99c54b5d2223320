"""Working out, from everything that reviewers said, how good each of them is and what the images are."""

from typing import Any

import numpy as np

from ml import consensus
from workbench.errors import Invalid
from workbench.models import User, utc_now
from workbench.queries import datasets
from workbench.services import activities, users
from workbench.services import consensus as results
from workbench.services.consensus import Material, Result
from workbench.worker.context import Context

_STEPS = ("Reading opinions", "Weighing reviewers", "Writing")


def build_consensus(context: Context, *, dataset: str) -> dict[str, Any]:
    """Write the data set's consensus file; run again, it is written anew. The promoted run counts as a reviewer."""
    context.progress(0, len(_STEPS), _STEPS[0])
    with context.database.read() as session:
        found = datasets.get_dataset(session, dataset)
        material = results.gather(session, context.home, found)
    if not len(material.opinions.image_ids):
        raise Invalid("No two reviewers have said anything about the same image yet: open a queue that asks several.")
    context.progress(1, len(_STEPS), _STEPS[1])
    result = _weigh(material)
    context.progress(2, len(_STEPS), _STEPS[2])
    results.save_result(context.home, found, result)
    with context.database.write() as session:
        user = session.get_one(User, context.user_id) if context.user_id else users.ensure_admin(session)
        activities.record(
            session,
            user=user,
            kind="consensus",
            dataset=datasets.get_dataset(session, dataset),
            images=len(result.images),
            method="reviewer quality",
        )
    context.progress(len(_STEPS), len(_STEPS), "")
    return {
        "dataset": dataset,
        "images": len(result.images),
        "reviewers": len(result.reviewers),
        "run": result.run,
    }


def _weigh(material: Material) -> Result:
    said, categories = material.opinions.said, material.opinions.categories
    reviewers = said.shape[1]
    if material.model is not None:
        said = np.column_stack([said, material.model]).astype(np.int16)
    found = consensus.dawid_skene(said, categories=len(categories), known=material.known)
    spoken = material.opinions.said >= 0
    return Result(
        line=material.line,
        run=material.run_id,
        made_at=utc_now().isoformat(),
        reviewers=[
            {
                "user": user_id,
                "quality": round(float(found.quality[column]), 6),
                "opinions": int(spoken[:, column].sum()),
            }
            for column, user_id in enumerate(material.opinions.user_ids)
        ],
        model_quality=round(float(found.quality[reviewers]), 6) if material.model is not None else None,
        images=material.opinions.image_ids.tolist(),
        keys=["" if number < 0 else categories[number].key for number in found.category.tolist()],
        p=[round(p, 6) for p in found.p.tolist()],
        opinions=spoken.sum(1).tolist(),
    )
