"""Promoting from the command line and after a training, in short transactions."""

from typing import Any

from sqlalchemy.orm import Session

from workbench.models import Dataset, User, utc_now
from workbench.queries import runs as queries
from workbench.services import automatic_queues, promotions, runs, users
from workbench.services.promotions import Examination
from workbench.worker.context import Context
from workbench.worker.learning import prepare


def promote_if_asked(context: Context, run_id: int) -> dict[str, Any]:
    """After its training: the first run of a data set is promoted, a later one if that was asked for and it passes.

    Answers `promoted`, whether the pages show it now; `first`; and `promotion`, how that came, none if nobody asked.
    Called again after a kill it stays with what was decided.
    """
    with context.database.read() as session:
        run = queries.get_run(session, run_id)
        dataset = session.get_one(Dataset, run.dataset_id)
        is_first = dataset.promoted_run_id is None
        is_decided = run.promotion is not None or dataset.promoted_run_id == run_id
        wanted = not is_decided and (is_first or bool(run.config["promote"]))
        examination = promotions.examine(session, context.home, run) if wanted else None
    if examination is not None:
        _carry_out(context, run_id, examination, automatic=True)
    with context.database.read() as session:
        run = queries.get_run(session, run_id)
        shown = session.get_one(Dataset, run.dataset_id).promoted_run_id == run_id
        return {"promoted": shown, "first": is_first, "promotion": run.promotion}


def promote_by_hand(context: Context, run_id: int, *, reason: str = "") -> dict[str, Any]:
    """Promote a run if the test or a reason lets it; raises Invalid with what the test says where neither does."""
    with context.database.read() as session:
        run = queries.get_run(session, run_id)
        examination = promotions.examine(session, context.home, run)
        if not examination.passes and not reason.strip():
            raise promotions.refusal(run, examination)
    return _carry_out(context, run_id, examination, reason=reason)


def _carry_out(
    context: Context, run_id: int, examination: Examination, *, reason: str = "", automatic: bool = False
) -> dict[str, Any]:
    if not examination.passes and not reason.strip():
        with context.database.write() as session:
            return _keep(context, session, run_id, examination, reason=reason, automatic=automatic)
    prepare(context, run_id)  # before its queues are built and its P(wrong) is shown
    with context.database.read() as session:
        run = queries.get_run(session, run_id)
        dataset = session.get_one(Dataset, run.dataset_id)
        chunks = runs.list_predicted(session, context.home, run)
        plans = automatic_queues.plan_automatic(session, context.home, dataset=dataset, run=run)
    for chunk in chunks:
        with context.database.write() as session:
            queries.update_predicted(session, chunk)
    with context.database.write() as session:  # last what makes it the promoted run
        run = queries.get_run(session, run_id)
        dataset = session.get_one(Dataset, run.dataset_id)
        queries.mark_promoted(session, dataset=dataset, run=run)
        automatic_queues.replace_automatic(session, plans=plans, now=utc_now())
        return _keep(context, session, run_id, examination, reason=reason, automatic=automatic)


def _keep(context: Context, session: Session, run_id: int, examination: Examination, **told: Any) -> dict[str, Any]:
    user = session.get_one(User, context.user_id) if context.user_id else users.ensure_admin(session)
    run = queries.get_run(session, run_id)
    return promotions.keep(session, run=run, user=user, examination=examination, **told)
