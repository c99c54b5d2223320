"""Building a split as a job."""

from typing import Any

from workbench.errors import Conflict
from workbench.models import User
from workbench.queries import datasets
from workbench.services import splits, users
from workbench.services.splits import SplitRequest
from workbench.worker.context import Context

_STEPS = ("Reading the images", "Grouping copies and families", "Dealing out", "Writing what moves")


def build_split(context: Context, *, dataset: str, stamp: str | None = None, **asked: Any) -> dict[str, Any]:
    """Split a data set anew; run again after a kill it comes to the same end, or finds nothing left to move.

    asked: the fields of a SplitRequest. stamp: of the plan that the user saw; another outcome by now is a Conflict.
    """
    request = SplitRequest(**{**asked, "by": tuple(asked.get("by", ()))})

    def say(words: str) -> None:
        context.progress(_STEPS.index(words), len(_STEPS), words)

    with context.database.read() as session:
        plan = splits.plan_split(session, dataset=datasets.get_dataset(session, dataset), request=request, say=say)
    if stamp is not None and plan.stamp != stamp:
        raise Conflict("The data set has changed since the preview, and with it the outcome; look at it again.")
    say(_STEPS[-1])
    with context.database.write() as session:
        found = datasets.get_dataset(session, dataset)
        splits.check_keep(found, request)
        user = session.get_one(User, context.user_id) if context.user_id else users.ensure_admin(session)
        splits.apply_split(session, dataset=found, user=user, plan=plan)
    context.progress(len(_STEPS), len(_STEPS), "")
    return describe_plan(dataset, plan)


def describe_plan(dataset: str, plan: splits.SplitPlan) -> dict[str, Any]:
    """What `workbench split --json` answers and the job keeps."""
    return {
        "dataset": dataset,
        "splits": plan.splits,
        "changed": len(plan.wanted),
        "groups_kept": plan.groups_kept,
        "families_kept": plan.families_kept,
        "family_images": plan.family_images,
        "largest": plan.largest,
        "set_aside": plan.set_aside,
        "deviation": round(plan.deviation, 3),
    }
