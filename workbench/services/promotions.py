"""Promoting a run: the first at once, a later one if the test finds it not worse, any by hand with a reason."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from workbench.config import Home
from workbench.errors import Conflict, Invalid, NotFound
from workbench.models import Dataset, Run, User, utc_now
from workbench.queries import runs as queries
from workbench.services import activities, runs
from workbench.services.comparisons import compare

TOLERATED = 0.02  # how much worse a run that measures lower may be, by the lower end of the interval
LONGEST_REASON = 500
_KEPT = (
    "n",
    "split",
    "a_accuracy",
    "b_accuracy",
    "difference",
    "low",
    "high",
    "p",
    "verdict",
    "cleaned_with_own_flags",
)


@dataclass(frozen=True)
class Examination:
    """Whether a run may take the place of the promoted one, and why.

    against: the promoted run's id, none for a first run. test: what a comparison of the two says, without its images;
    none for a first run and where the two cannot be compared.
    """

    passes: bool
    sentence: str
    against: int | None = None
    test: dict[str, Any] | None = None

    def report(self) -> dict[str, Any]:
        return {"passes": self.passes, "sentence": self.sentence, "against": self.against, "test": self.test}


def examine(session: Session, home: Home, run: Run) -> Examination:
    """Compare it with the promoted run on the images that neither saw, by the newest labels. Writes nothing.

    It passes if it gets at least as many right; or fewer, but no fewer than chance would make, and the interval does
    not reach below TOLERATED. Where the two cannot be compared it does not pass.
    """
    if run.status != "done":
        raise Invalid(f"Run {run.id} is {run.status}; only a run that is done can be promoted.")
    champion = queries.get_promoted(session, session.get_one(Dataset, run.dataset_id))
    if champion is None:
        return Examination(True, "It is the first of this data set.")
    if champion.id == run.id:
        raise Conflict(f"Run {run.id} is the promoted one already.")
    try:
        found = compare(session, home, run_a=champion, run_b=run)
    except (Invalid, NotFound) as error:
        return Examination(False, f"It cannot be compared with run {champion.id}: {error}", champion.id)
    passes, reason = _judge(found, champion.id)
    return Examination(passes, f"{found['sentence']} {reason}", champion.id, {key: found[key] for key in _KEPT})


def _judge(found: dict[str, Any], champion_id: int) -> tuple[bool, str]:
    """Whether that is good enough, in words."""
    if found["difference"] >= 0:
        return True, "It is not worse, so it may be promoted."
    if found["verdict"] == "worse":
        return False, f"So the test keeps run {champion_id}."
    if found["low"] < -TOLERATED:
        return False, (
            f"It measures lower, and {found['n']:,} images cannot rule out that it is {-100 * found['low']:.1f} points "
            f"worse; up to {100 * TOLERATED:.0f} would pass."
        )
    return (
        True,
        f"It measures lower by no more than chance, {100 * TOLERATED:.0f} points at most: it may be promoted.",
    )


def keep(
    session: Session, *, run: Run, user: User, examination: Examination, reason: str = "", automatic: bool = False
) -> dict[str, Any]:
    """Keep in the run, and in the activities, whether it is promoted: by the test, else by the reason.

    automatic: asked for with the training, not by hand. The caller promotes it if `promoted` of the answer says so.
    """
    reason = " ".join(reason.split())[:LONGEST_REASON]
    promoted = examination.passes or bool(reason)
    told = {
        "promoted": promoted,
        "how": _name_how(examination, reason),
        "by": user.name,
        "at": utc_now().isoformat(timespec="seconds"),
        "automatic": automatic,
        "reason": reason,
        **examination.report(),
    }
    run.promotion = told
    dataset = session.get_one(Dataset, run.dataset_id)
    kind = "run_promoted" if promoted else "run_refused"
    detail = {"against": examination.against} if not promoted else {"how": told["how"], "note": reason}
    activities.record(session, user=user, kind=kind, dataset=dataset, run=run.id, **detail)
    return told


def _name_how(examination: Examination, reason: str) -> str:
    """first, test, reason or refused."""
    if examination.passes:
        return "test" if examination.against is not None else "first"
    return "reason" if reason else "refused"


def promote(
    session: Session, home: Home, run: Run, *, user: User, reason: str = "", examination: Examination | None = None
) -> dict[str, Any]:
    """By hand: show the run's predictions on the pages and build its queues, if the test or a reason lets it.

    examination: none to examine it here. Raises Invalid with what the test says where neither lets it; the field is
    `reason`. Writes a row per image.
    """
    examination = examination or examine(session, home, run)
    if not examination.passes and not reason.strip():
        raise refusal(run, examination)
    runs.promote(session, home, run)
    return keep(session, run=run, user=user, examination=examination, reason=reason)


def refusal(run: Run, examination: Examination) -> Invalid:
    return Invalid(
        f"Run {run.id} is not promoted. {examination.sentence} To promote it all the same, say why.",
        reason="Say why; it is kept with the run.",
    )


def tell(promotion: dict[str, Any]) -> str:
    """How a run came to be promoted, or was refused, for people; without the test."""
    if not promotion["promoted"]:
        return f"Not promoted, although it was asked for: run {promotion['against']} stays."
    how = {
        "first": "as the first of this data set",
        "test": f"because it is not worse than run {promotion['against']}",
        "reason": f"by hand: “{promotion['reason']}”",
    }[promotion["how"]]
    return f"Promoted {how}."
