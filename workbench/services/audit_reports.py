"""The report of an audit: every figure in words, with the versions and the verdicts that made it.

Page, print and PDF are drawn from the same `AuditReport`. It holds nothing that depends on when it is asked for: the
same audit at the same version of the verdicts gives the same report.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from workbench.models import Audit, Dataset, User
from workbench.services import audits
from workbench.services.audit_estimates import Estimate
from workbench.services.audit_figures import Figures, Part, work_out
from workbench.services.audits import Remaining

_KINDS = {
    "confirmed": "the given label is right",
    "relabelled": "it shows another class",
    "excluded": "it shows none of the classes",
    "ambiguous": "several classes fit",
}


@dataclass(frozen=True)
class Row:
    """One line of a table. query: which verdicts of the sample made it, as the list of verdicts takes it."""

    cells: tuple[str, ...]
    query: Mapping[str, str] | None = field(default_factory=dict)


@dataclass(frozen=True)
class Section:
    title: str
    header: tuple[str, ...]
    rows: tuple[Row, ...]
    note: str = ""


@dataclass(frozen=True)
class AuditReport:
    dataset: str
    audit_id: int
    dataset_version: int
    verdict_version: int
    answer: str
    so_what: str
    facts: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]
    command: str

    @property
    def title(self) -> str:
        return f"Audit {self.audit_id} of {self.dataset}"


def write_report(session: Session, dataset: Dataset, audit: Audit, *, decision_id: int | None = None) -> AuditReport:
    """decision_id: the version of the verdicts; none for the one that completed the sample, or the present one."""
    figures = work_out(audits.read(session, dataset, audit, decision_id=decision_id))
    remaining = audits.count_remaining(session, dataset, figures, decision_id=figures.verdict_version)
    user = session.get(User, audit.created_by_id) if audit.created_by_id else None
    sections = [_rates(figures), _classes(figures), _splits(figures), _kinds(figures), _corrections(figures)]
    sections += [_left(figures, remaining), _accuracies(figures), _agreement(figures)]
    return AuditReport(
        dataset=dataset.name,
        audit_id=audit.id,
        dataset_version=figures.dataset_version,
        verdict_version=figures.verdict_version,
        answer=_answer(figures),
        so_what=_say_so_what(figures, remaining),
        facts=_facts(audit, figures, user),
        sections=tuple(section for section in sections if section.rows),
        command=f"workbench audit --dataset {dataset.name} --audit {audit.id} --version {figures.verdict_version}",
    )


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def bounds(estimate: Estimate) -> str:
    return f"[{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]"


def _answer(figures: Figures) -> str:
    if figures.rate is None:
        return f"{figures.missing:,} of {figures.size:,} verdicts are missing: nothing can be said yet."
    so_far = "" if figures.is_complete else "So far: "
    return f"{so_far}{percent(figures.rate.rate)} of the labels are wrong {bounds(figures.rate)}"


def _say_so_what(figures: Figures, remaining: Remaining | None) -> str:
    rate = figures.rate
    if rate is None or remaining is None:
        return ""
    words = f"About {rate.count:,} of {figures.images:,} labels, between {rate.count_low:,} and {rate.count_high:,}."
    if not figures.is_complete:
        words += f" {figures.missing:,} of {figures.size:,} verdicts are still missing."
    if remaining.corrected:
        words += f" {remaining.corrected:,} have been put right, so about {remaining.count:,} were left."
    return words


def _facts(audit: Audit, figures: Figures, user: User | None) -> tuple[tuple[str, str], ...]:
    left_out = ", ".join(f"{count:,} {why}" for why, count in figures.left_out.items() if count)
    by = f" by {user.name}" if user else ""
    helped = f", more of what run {figures.run_id} doubts" if figures.run_id is not None else ""
    blind = f"blind, {audit.opinions} opinions on each image" if audit.opinions > 1 else "blind, one verdict each"
    elsewhere = f"; {figures.elsewhere:,} were given elsewhere, not blind" if figures.elsewhere else ""
    return (
        ("Labels of", f"version {figures.dataset_version} ({figures.content_hash[:12]})"),
        ("Verdicts as of", f"version {figures.verdict_version}"),
        ("Images", f"{figures.images:,} with a label{'; left out: ' + left_out if left_out else ''}"),
        ("Sample", f"{figures.size:,} drawn at random within class and split{helped}; seed {audit.seed}"),
        ("Drawn", f"{audit.created_at:%Y-%m-%d %H:%M} UTC{by}"),
        ("Verdicts", f"{figures.answered:,} of {figures.size:,}, {blind}{elsewhere}"),
    )


def _cells(estimate: Estimate | None) -> tuple[str, ...]:
    if estimate is None:
        return ("–", "–", "0", "0", "–")
    many = f"{estimate.count:,} [{estimate.count_low:,}, {estimate.count_high:,}]"
    return (percent(estimate.rate), bounds(estimate), f"{estimate.n:,}", f"{estimate.wrong:,}", many)


_HEADER = ("Wrong", "95 % interval", "Verdicts", "Wrong ones", "Wrong labels")


def _rates(figures: Figures) -> Section:
    rows = []
    if figures.is_assisted and figures.rate is not None:
        rows.append(Row((f"with the help of run {figures.run_id}’s P(wrong)", *_cells(figures.rate))))
    if figures.plain is not None:
        rows.append(Row(("by the verdicts alone", *_cells(figures.plain))))
    return Section("Wrong labels", ("Estimate", *_HEADER), tuple(rows), _compare_widths(figures))


def _compare_widths(figures: Figures) -> str:
    if not figures.is_assisted or figures.rate is None or figures.plain is None:
        return ""
    if figures.rate.high - figures.rate.low < figures.plain.high - figures.plain.low:
        says = "narrower: the model says where the doubt is, the verdicts how much"
    else:
        says = "not narrower: there are few verdicts yet, or the model knows little of what they say"
    return f"Both hold for all images. The first is {says}."


def _parts(parts: tuple[Part, ...], key: str) -> tuple[Row, ...]:
    return tuple(
        Row((part.name, f"{part.images:,}", *_cells(part.estimate)), {key: str(part.class_id or part.split or "none")})
        for part in parts
    )


def _classes(figures: Figures) -> Section:
    return Section("By given class", ("Class", "Images", *_HEADER), _parts(figures.classes, "class"))


def _splits(figures: Figures) -> Section:
    return Section("By split", ("Split", "Images", *_HEADER), _parts(figures.splits, "split"))


def _kinds(figures: Figures) -> Section:
    rows = [
        Row((words, f"{figures.kinds[kind]:,}"), {"kind": kind})
        for kind, words in _KINDS.items()
        if figures.kinds[kind]
    ]
    note = ""
    if figures.ambiguous is not None and figures.ambiguous.wrong:
        share = f"{percent(figures.ambiguous.rate)} {bounds(figures.ambiguous)}"
        note = (
            f"Of all images {share} are ambiguous. Such an image counts as wrong only if no class that fits was given."
        )
    return Section("What reviewers said", ("Verdict", "Images of the sample"), tuple(rows), note)


def _corrections(figures: Figures) -> Section:
    rows = tuple(
        Row((given, shown, f"{count:,}"), {"given": given, "shows": shown})
        for given, shown, count in figures.corrections
    )
    return Section("Most common errors", ("Given", "Shows", "Images of the sample"), rows)


def _left(figures: Figures, remaining: Remaining | None) -> Section:
    if figures.rate is None or remaining is None:
        return Section("Left", (), ())
    rate = figures.rate
    return Section(
        "Wrong labels left",
        ("", "Labels", "95 % interval"),
        (
            Row((f"wrong in version {figures.dataset_version}", f"{rate.count:,}", _span(rate))),
            Row((f"changed since, by version {remaining.decision_id}", f"{remaining.corrected:,}", ""), None),
            Row(("left", f"{remaining.count:,}", f"[{remaining.low:,}, {remaining.high:,}]"), None),
        ),
        "A label that was changed since counts as one put right.",
    )


def _span(rate: Estimate) -> str:
    return f"[{rate.count_low:,}, {rate.count_high:,}]"


def _accuracies(figures: Figures) -> Section:
    rows = tuple(
        Row(
            (
                one.split or "all splits",
                f"{percent(one.corrected.rate)} {bounds(one.corrected)}",
                f"{percent(one.given.rate)} {bounds(one.given)}",
                f"{one.corrected.n:,}",
            ),
            {"split": one.split} if one.split else {},
        )
        for one in figures.accuracies
    )
    return Section(
        "How often the model is right",
        ("Images", "By the verdicts", "By the given labels", "Verdicts"),
        rows,
        "Of images that the promoted run had not learnt from and that show one class. The difference is what wrong "
        "labels make a model look worse.",
    )


def _agreement(figures: Figures) -> Section:
    rows = []
    for name, figure in (("two opinions are the same", figures.agreement), ("Krippendorff’s alpha", figures.alpha)):
        if figure is not None and figure.value is not None:
            interval = f"[{figure.low:.2f}, {figure.high:.2f}]"
            rows.append(Row((name, f"{figure.value:.2f}", interval, f"{figure.n:,}")))
    return Section("Do reviewers agree?", ("", "Value", "95 % interval", "Images"), tuple(rows))
