"""Building a split as a job."""

from typing import Any

from workbench.models import User
from workbench.queries import datasets
from workbench.services import splits, users
from workbench.worker.context import Context


def build_split(
    context: Context, *, dataset: str, train: float, validation: float, test: float, seed: int = 0
) -> dict[str, Any]:
    """Split a data set anew; run again it finds nothing left to move."""
    with context.database.read() as session:
        found = datasets.get_dataset(session, dataset)
        plan = splits.plan_split(session, dataset=found, train=train, validation=validation, test=test, seed=seed)
    with context.database.write() as session:
        found = datasets.get_dataset(session, dataset)
        user = session.get_one(User, context.user_id) if context.user_id else users.ensure_admin(session)
        result = splits.apply_split(session, dataset=found, user=user, plan=plan)
    return {
        "dataset": dataset,
        "splits": result.splits,
        "changed": result.changed,
        "groups_kept": result.groups_kept,
    }
