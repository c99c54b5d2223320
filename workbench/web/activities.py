"""What people did besides deciding: accounts, invitations, queues, runs, exports."""

from flask import Blueprint, request
from flask.typing import ResponseReturnValue

from workbench.queries import datasets
from workbench.queries import users as queries
from workbench.queries.users import ActivityFilter
from workbench.services import activities
from workbench.web.accounts import needs
from workbench.web.boundary import db, page
from workbench.web.days import group_by_day, parse_span
from workbench.web.loaders import load_dataset

blueprint = Blueprint("activities", __name__)
PER_PAGE = 50


@blueprint.get("/activity")
@needs("lead")
def index() -> ResponseReturnValue:
    """Newest first; `before` is the last one of the page before."""
    args = request.args
    dataset = load_dataset(args["dataset"]) if args.get("dataset") else None
    kind = args.get("kind", "")
    since, until = parse_span(args)
    wanted = ActivityFilter(
        user_id=args.get("user", type=int),
        dataset_id=dataset.id if dataset else None,
        kinds=(kind,) if kind else (),
        since=since,
        until=until,
    )
    found = queries.list_activities(db(), wanted, before=args.get("before", type=int), limit=PER_PAGE + 1)
    return page(
        "activities.html",
        dataset=dataset,
        days=group_by_day(found[:PER_PAGE], at=lambda activity: activity.at),
        following=found[PER_PAGE - 1].id if len(found) > PER_PAGE else None,
        is_first="before" not in args,
        chosen={key: args[key] for key in ("user", "kind", "dataset", "since", "until") if args.get(key)},
        people=queries.list_users(db()),
        kinds=activities.KINDS,
        names={found.id: found.name for found in datasets.list_datasets(db())},
        phrase=activities.phrase,
    )
