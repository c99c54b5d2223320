"""`workbench audit`."""

from pathlib import Path
from typing import Any

import click
from sqlalchemy.orm import Session

from workbench.cli.frame import Workbench, command
from workbench.errors import Invalid
from workbench.files import written_whole
from workbench.models import Audit, Dataset
from workbench.queries import audits as queries
from workbench.queries import datasets as dataset_queries
from workbench.services import audits, users
from workbench.services.audit_estimates import Estimate
from workbench.services.audit_figures import Figures, work_out


@command("audit")
@click.option("--dataset", required=True, help="Name of the data set.")
@click.option("--size", type=int, help="Images to draw (default: 400, or what --margin takes).")
@click.option("--margin", type=float, help="Half of the interval's width to aim for, a share (default: 0.05).")
@click.option("--opinions", type=int, default=1, show_default=True, help="Reviewers asked about each image.")
@click.option("--plain", is_flag=True, help="Draw without the help of P(wrong).")
@click.option(
    "--seed", type=click.IntRange(0, 2**63 - 1), help="Draws the same sample again (default: another one each time)."
)
@click.option("--new", is_flag=True, help="Draw another sample even if there is one.")
@click.option("--audit", "audit_id", type=int, metavar="AUDIT", help="Tell of this one (default: the newest).")
@click.option("--version", type=int, help="Take the verdicts as they stood after this decision.")
@click.option("--report", type=click.Path(path_type=Path), metavar="FILE", help="Write the report, a PDF.")
def audit(
    bench: Workbench,
    dataset: str,
    new: bool,
    audit_id: int | None,
    version: int | None,
    plain: bool,
    report: Path | None,
    **asked: Any,
) -> None:
    """Draw a random sample for a blind review; called again, tell how many labels are wrong.

    The first call draws the sample as a queue. Review it (or: workbench decide), then call again.
    """
    with bench.database.read() as session:
        found = dataset_queries.get_dataset(session, dataset)
        known = queries.list_audits(session, found.id)
        plan = None
        if new or not (known or audit_id):
            if audit_id is not None or version is not None:
                raise Invalid("A new sample has no number and no verdicts yet: leave --audit and --version away.")
            plan = audits.plan_audit(session, found, assisted=not plain, **asked)
    if plan is not None:
        with bench.database.write() as session:
            audit_id = audits.open_audit(session, plan, user=users.ensure_admin(session)).id
        bench.record("audit_drawn", dataset=dataset, audit=audit_id, size=len(plan.rows))
    with bench.database.read() as session:
        found = dataset_queries.get_dataset(session, dataset)
        chosen = queries.get_audit(session, found.id, audit_id if audit_id is not None else known[0].id)
        figures = work_out(audits.read(session, found, chosen, decision_id=version))
        remaining = audits.count_remaining(session, found, figures)
        document = {**describe(chosen, figures), "left": remaining and remaining.count}
        if report is not None:
            drawn = _print(session, found, chosen, version)
            with written_whole(report) as file:
                file.write(drawn)
    bench.answer(document, _tell(found, chosen, figures, left=document["left"]))


def _print(session: Session, dataset: Dataset, audit: Audit, version: int | None) -> bytes:
    from workbench.services.audit_pdf import draw
    from workbench.services.audit_reports import write_report

    return draw(write_report(session, dataset, audit, decision_id=version))


def describe(audit: Audit, figures: Figures) -> dict[str, Any]:
    """What --json answers."""
    rate = figures.rate
    return {
        "audit": audit.id,
        "queue": audit.queue_id,
        "version": audit.decision_id,
        "verdict_version": figures.verdict_version,
        "content_hash": audit.content_hash,
        "run": figures.run_id,
        "sample": figures.size,
        "done": figures.answered,
        "missing": figures.missing,
        "wrong": figures.wrong,
        "ambiguous": figures.kinds["ambiguous"],
        "images": figures.images,
        "rate": rate and rate.rate,
        "low": rate and rate.low,
        "high": rate and rate.high,
        "estimated_errors": rate and rate.count,
        "errors_low": rate and rate.count_low,
        "errors_high": rate and rate.count_high,
        "margin": audit.margin,
        "margin_reached": rate and rate.half_width <= audit.margin,
        "plain": _describe(figures.plain),
        "classes": {part.name: _describe(part.estimate) for part in figures.classes},
        "splits": {part.name: _describe(part.estimate) for part in figures.splits},
        "accuracy": [
            {"split": one.split, "corrected": _describe(one.corrected), "given": _describe(one.given)}
            for one in figures.accuracies
        ],
        "agreement": None
        if figures.agreement is None
        else {"same": figures.agreement.value, "low": figures.agreement.low, "high": figures.agreement.high},
    }


def _describe(estimate: Estimate | None) -> dict[str, Any] | None:
    if estimate is None:
        return None
    return {
        "rate": estimate.rate,
        "low": estimate.low,
        "high": estimate.high,
        "n": estimate.n,
        "wrong": estimate.wrong,
        "images": estimate.images,
    }


def _tell(dataset: Dataset, audit: Audit, figures: Figures, *, left: int | None) -> str:
    lines = []
    if figures.missing:
        lines.append(
            f"Audit {audit.id} of {dataset.name}: {figures.missing:,} of {figures.size:,} verdicts are missing. "
            f"Review queue {audit.queue_id}, then call this again."
        )
    if figures.rate is None:
        return "\n".join(lines)
    rate = figures.rate
    before = "So far" if figures.missing else f"Audit {audit.id} of {dataset.name}"
    lines.append(
        f"{before}: {rate.rate:.1%} of {figures.images:,} labels are wrong [{rate.low:.1%}, {rate.high:.1%}], "
        f"about {rate.count:,} [{rate.count_low:,}, {rate.count_high:,}]; {figures.wrong:,} of {figures.answered:,} "
        f"verdicts said so. {left or 0:,} are left now."
    )
    return "\n".join(lines)
