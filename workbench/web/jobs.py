"""Jobs: what runs, how far it is, what became of it."""

from flask import Blueprint, request, url_for
from flask.typing import ResponseReturnValue

from workbench.errors import Forbidden
from workbench.models import FINDINGS, Dataset, Job, User, utc_now
from workbench.queries import jobs as queries
from workbench.services import activities, jobs
from workbench.web.accounts import me, needs
from workbench.web.boundary import db, done, page
from workbench.web.loaders import load_job

blueprint = Blueprint("jobs", __name__)
PAGE = 30


@blueprint.get("/jobs")
def index() -> ResponseReturnValue:
    """Open ones first, whatever page; then those that are over, newest first."""
    before = request.args.get("before", type=int)
    running = queries.list_open_jobs(db())
    past = [job for job in queries.list_jobs(db(), before=before, limit=PAGE + 1) if job.is_over or before]
    more = len(past) > PAGE
    return page(
        "jobs/index.html",
        block="open_jobs",
        running=[] if before else running,
        past=past[:PAGE],
        more=past[PAGE - 1].id if more else None,
        first=before is None,
        time_left=time_left,
    )


@blueprint.get("/jobs/<int:job_id>")
def show(job_id: int) -> ResponseReturnValue:
    job = load_job(job_id)
    dataset = _find_dataset(job)
    return page(
        "jobs/job.html",
        block="job_state",
        job=job,
        dataset=dataset,
        asker=db().get(User, job.created_by_id) if job.created_by_id else None,
        outcome=describe_result(job, dataset),
        time_left=time_left,
        may_stop=me().may("lead") or (me().may("reviewer") and job.created_by_id == me().id),
    )


@blueprint.post("/jobs/<int:job_id>/cancel")
@needs("reviewer")
def cancel(job_id: int) -> ResponseReturnValue:
    job = load_job(job_id)
    _check_may_stop(job)
    jobs.cancel(job)
    activities.record(db(), user=me(), kind="job_cancelled", dataset=_find_dataset(job), title=job.title)
    words = "Cancelled." if job.is_over else "Asked to stop; it does so at its next step."
    return done(url_for("jobs.show", job_id=job.id), words)


@blueprint.post("/jobs/<int:job_id>/retry")
@needs("reviewer")
def retry(job_id: int) -> ResponseReturnValue:
    job = load_job(job_id)
    _check_may_stop(job)
    again = jobs.retry(db(), job=job, user=me())
    activities.record(db(), user=me(), kind="job_retried", dataset=_find_dataset(job), title=job.title)
    return done(url_for("jobs.show", job_id=again.id), "Trying again; what was finished is not done twice.")


def _find_dataset(job: Job) -> Dataset | None:
    return db().get(Dataset, job.dataset_id) if job.dataset_id else None


def _check_may_stop(job: Job) -> None:
    if not me().may("lead") and job.created_by_id != me().id:
        raise Forbidden("You can stop and retry jobs that you asked for yourself; for others ask a lead.")


@blueprint.get("/jobs/badge")
def badge() -> ResponseReturnValue:
    """How many jobs are queued or running, for the head of every page; empty when none is."""
    return str(queries.count_open_jobs(db()) or "")


def time_left(job: Job) -> float | None:
    """Seconds, at the pace so far; none before a hundredth is done."""
    if job.started_at is None or not job.total or job.done < job.total / 100:
        return None
    spent = (utc_now() - job.started_at).total_seconds()
    return spent * (job.total - job.done) / job.done if job.done else None


def describe_result(job: Job, dataset: Dataset | None) -> tuple[str, str, str] | None:
    """What a finished job brought, in words, with the address of it and the words of the link."""
    result = job.result or {}
    name = dataset.name if dataset else str(result.get("dataset") or job.params.get("dataset") or "")
    if job.status != "done":
        return None
    match job.kind:
        case "import":
            words = f"{result.get('imported', 0):,} images imported, {len(result.get('refused', [])):,} refused."
            if result.get("import"):
                return words, url_for("imports.show", name=name, import_id=result["import"]), "See the report"
            return words, url_for("home.show", name=name), f"Open {name}"
        case "train":
            measured = result.get("test") or {}
            right = f"{100 * measured['accuracy']:.1f} % right" if measured.get("accuracy") is not None else "Trained"
            return f"{right} after {result.get('epochs', 0)} epochs.", _run_address(name, result), "Open the run"
        case "study":
            words = f"{result.get('ended', 0):,} of {result.get('runs', 0):,} runs are over."
            return words, url_for("studies.show", name=name, study_id=result["study"]), "Open the study"
        case "scan":
            return "The copies are found.", url_for("duplicates.index", name=name), "See the duplicates"
        case "findings":
            found = sum(result.get(kind, 0) for kind in FINDINGS)
            return f"{found:,} findings.", url_for("findings.index", name=name), "See the findings"
        case "explain" | "stress":
            words = f"{result.get('images', 0):,} images are mapped." if job.kind == "explain" else "It is measured."
            return words, url_for("explaining.show", name=name, run_id=job.params["run"]), "See what it rests on"
        case "queue":
            words = f"{result.get('size', 0):,} images are waiting."
            return words, url_for("review.card", name=name, queue_id=result["queue"]), "Review them"
        case "map":
            words = f"{result.get('images', 0):,} images are on the map."
            return words, url_for("maps.show", name=name), "Look at the map"
        case "export":
            return "The archive is ready.", url_for("exports.download", job_id=job.id), "Download it"
        case _:
            return "Done.", url_for("home.show", name=name), f"Open {name}"


def _run_address(name: str, result: dict[str, object]) -> str:
    return (
        f"{url_for('runs.index', name=name)}/{result['run']}" if "run" in result else url_for("runs.index", name=name)
    )
