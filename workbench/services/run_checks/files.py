"""Files that are not what their names say, and files that a run needs and that are not there."""

from collections import Counter
from pathlib import Path

from workbench.queries import run_checks as queries
from workbench.services.predictions import FILE as PREDICTIONS
from workbench.services.probes import CHECKPOINT
from workbench.services.run_checks.facts import Facts
from workbench.services.run_checks.outcomes import Outcome, fine, join_names, plural, wrong

ENDINGS = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".gif": "image/gif",
    ".bmp": "image/bmp",
    ".webp": "image/webp",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
}
_LOOKED_AT = 50  # files imported in place whose presence is tried


def check_endings(facts: Facts) -> Outcome:
    """A .png renamed to .jpg is still a PNG: whoever reads by the name reads it wrongly or converts nothing."""
    counts = queries.count_endings(facts.session, facts.dataset.id)
    false: Counter[tuple[str, str]] = Counter()
    for (media_type, tail), count in counts.items():
        ending = "." + tail.rpartition(".")[2]
        if "." in tail and ENDINGS.get(ending, media_type) != media_type:
            false[media_type, ending] += count
    if false:
        (media_type, ending), _ = false.most_common(1)[0]
        kind = media_type.partition("/")[2].upper()
        return wrong(
            f"{plural(sum(false.values()), 'file')} of {sum(counts.values()):,} are not what they are called (most are "
            f"{ending} and hold {kind}): they were renamed without converting, and a step that claims otherwise did "
            "nothing."
        )
    return fine("Files are what their endings say.")


def check_repeatable(facts: Facts) -> Outcome:
    """What the run's command reads and writes is there."""
    folder = facts.home.run_folder(facts.run.id)
    missing = [str(name) for name in facts.claims.get("missing_files", [])]
    if not facts.is_external and not (folder / CHECKPOINT).exists():
        missing.append(f"its checkpoint (runs/{facts.run.id}/{CHECKPOINT})")
    if not (folder / PREDICTIONS).exists():
        missing.append(f"its predictions (runs/{facts.run.id}/{PREDICTIONS})")
    places = queries.list_locations(facts.session, facts.dataset.id, limit=_LOOKED_AT)
    gone = [place for place in places if not Path(place).exists()]
    if gone:
        missing.append(f"{len(gone)} of {len(places)} images looked for, such as {Path(gone[0]).name}")
    if missing:
        return wrong(f"It cannot be had again: {join_names(missing)} {'is' if len(missing) == 1 else 'are'} missing.")
    return fine("What it was made of and what it left is there.")
