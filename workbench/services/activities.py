"""What people did besides deciding: one append-only line each, in the transaction of the thing itself."""

from typing import Any

from sqlalchemy.orm import Session

from workbench.models import Activity, Dataset, User

# kind -> what the filter calls it
KINDS = {
    "login": "logged in",
    "account": "account made",
    "role": "role changed",
    "switched_off": "account switched off",
    "switched_on": "account switched on",
    "password": "password set",
    "login_link": "login link made",
    "invitation": "invitation made",
    "joined": "invitation used",
    "revoked": "invitation revoked",
    "import": "import started",
    "scan": "scan started",
    "looked": "pictures looked at",
    "split": "splits being built",
    "export": "export made",
    "audit_drawn": "audit drawn",
    "queue_built": "queue built",
    "queue_closed": "queue closed",
    "run_started": "run started",
    "run_cancelled": "run cancelled",
    "run_promoted": "run promoted",
    "run_refused": "run not promoted",
    "study_started": "study started",
    "study_cancelled": "study cancelled",
    "consensus": "consensus computed",
    "run_explained": "maps of a run asked for",
    "run_stressed": "stress of a run asked for",
    "map_made": "map made",
    "opinion_asked": "another opinion asked for",
    "opinion_unasked": "another opinion no longer asked for",
    "job_cancelled": "job cancelled",
    "job_retried": "job tried again",
    "backup": "backup written",
    "restore": "backup restored",
}


def record(session: Session, *, user: User, kind: str, dataset: Dataset | None = None, **detail: Any) -> None:
    """Say that `user` did something. detail: names and numbers as they were then; never a secret."""
    if kind not in KINDS:
        raise ValueError(f"{kind} is no kind of activity; name it in KINDS and give it words in `phrase`")
    session.add(Activity(user_id=user.id, kind=kind, dataset_id=dataset.id if dataset else None, detail=detail))
    session.flush()


def phrase(activity: Activity) -> str:
    """What was done, to be read after the name of who did it: “made bob a lead (was reviewer)”."""
    told = _PHRASES[activity.kind]
    return told.format_map(_Told(activity.detail))


_PHRASES = {
    "login": "logged in by {how}",
    "account": "made the account {name}, {role}",
    "role": "made {name} {role}, who was {before}",
    "switched_off": "switched {name} off",
    "switched_on": "switched {name} on again",
    "password": "set a new password",
    "login_link": "made a login link for {name}",
    "invitation": "invited somebody as {role}{note}",
    "joined": "joined as {role}, invited by {by}",
    "revoked": "revoked the invitation of a {role}{note}",
    "import": "started to import {source} into {name}",
    "scan": "started a scan for duplicates",
    "looked": "had the pictures looked at",
    "split": "started to build splits",
    "export": "exported version {version} as {format}",
    "audit_drawn": "drew audit {audit} of {size} images",
    "queue_built": "built the queue {title} of {size} images",
    "queue_closed": "closed the queue {title}",
    "run_started": "started run {run}, {arch}",
    "run_cancelled": "cancelled run {run}",
    "run_promoted": "promoted run {run}{note}",
    "run_refused": "asked to promote run {run}, which run {against} stood in the way of",
    "study_started": "started study {study}, {name}",
    "study_cancelled": "cancelled study {study}",
    "consensus": "computed a consensus for {images} images by {method}",
    "run_explained": "had mapped where run {run} looks",
    "run_stressed": "put run {run} under stress",
    "map_made": "had the map of run {run} made",
    "opinion_asked": "asked for another opinion on {path}",
    "opinion_unasked": "no longer asks for another opinion on {path}",
    "job_cancelled": "cancelled: {title}",
    "job_retried": "tried again: {title}",
    "backup": "wrote a backup to {file}",
    "restore": "restored the backup {file}",
}


class _Told(dict[str, Any]):
    """The detail as words: numbers with separators, a note in quotes, a dash for what was not said."""

    def __getitem__(self, key: str) -> str:
        value = self.get(key)
        if key == "note":
            return f": “{value}”" if value else ""
        if isinstance(value, int) and key in ("size", "images"):
            return f"{value:,}"
        return "–" if value is None or value == "" else str(value)
