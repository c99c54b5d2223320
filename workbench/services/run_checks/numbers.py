"""One number, one source: what is kept or said of a run against what its predictions give."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.queries import runs as run_queries
from workbench.services.measures import evaluate
from workbench.services.run_checks.facts import Facts
from workbench.services.run_checks.outcomes import Outcome, fine, join_names, plural, unchecked, wrong
from workbench.services.run_checks.rows import is_unrelated

_EXACT = 1e-9
LARGEST_DENOMINATOR = 50  # a share of so few is named; 0.857143 = 6/7
ROWS = ("recall", "precision", "f1")
RATES = ("accuracy", *ROWS, "misclassified", "specificity")


def check_source(facts: Facts) -> Outcome:
    """The figures kept with the run, against each other and against its predictions matched by image."""
    kept = facts.metrics
    if not kept.get("n"):
        return unchecked("It was measured on no image.")
    matrix = np.array(kept["confusion"], np.int64)
    told = _contradict(matrix, kept)
    if told:
        return wrong(told)
    again = _recompute(facts)
    if again is None:
        return fine(
            "Its figures agree with its confusion matrix; labels have changed since, so no more can be compared."
        )
    right, count = int(again.trace()), int(again.sum())
    if (again != matrix).any():
        shuffled = is_unrelated(matrix) and not is_unrelated(again)
        how = " The kept ones are those of rows in another order than the labels." if shuffled else ""
        return wrong(
            f"Its accuracy was kept as {kept['accuracy']:.1%} (n = {kept['n']:,}), but its predictions matched to the "
            f"labels by image give {right / count if count else 0:.1%} (n = {count:,}): one number, two sources.{how}"
        )
    return fine(f"Its predictions give its figures again ({right:,} of {count:,} right).")


def _contradict(matrix: NDArray[np.int64], kept: dict[str, Any]) -> str:
    """What does not fit between a confusion matrix and the figures beside it, if anything."""
    count, right = int(matrix.sum()), int(np.trace(matrix))
    if count != kept["n"] or abs(right / max(1, count) - kept["accuracy"]) > _EXACT:
        return (
            f"The confusion matrix gives an accuracy of {right / max(1, count):.4f} (n = {count:,}), the figure beside "
            f"it is {kept['accuracy']:.4f} (n = {kept['n']:,}): one number, two sources."
        )
    for index, row in enumerate(kept["per_class"]):
        support = int(matrix[index].sum())
        if row["support"] != support or (support and abs(matrix[index, index] / support - row["recall"]) > _EXACT):
            return f"The recall of {row['name']} is not what its row of the confusion matrix gives."
    return ""


def _recompute(facts: Facts) -> NDArray[np.int64] | None:
    """The confusion matrix by the labels of then; none where they are not known."""
    labels = facts.probe.labels if facts.probe else {}
    if not labels and facts.run.decision_id != facts.head:
        return None
    class_ids = [int(cls["id"]) for cls in facts.run.config["classes"]]
    column = {class_id: index for index, class_id in enumerate(class_ids)}
    if labels:
        pairs = zip(labels["images"], labels["classes"], strict=True)
    else:
        ids = facts.judged.class_ids
        pairs = zip(facts.judged.image_ids.tolist(), [ids[n] for n in facts.judged.labels.tolist()], strict=True)
    known = [
        (place, column[int(c)]) for i, c in pairs if (place := facts.said.find(i)) is not None and int(c) in column
    ]
    places, truth = np.array(known, np.int64).reshape(-1, 2).T
    predicted = facts.said.probs[places].argmax(1) if len(places) else places
    count = len(class_ids)
    return np.bincount(truth * count + predicted, minlength=count * count).reshape(count, count)


# --- what others say ----------------------------------------------------------------------------------------------


def check_claims(facts: Facts) -> Outcome:
    """Figures that came with the predictions, against what the predictions give, and against each other."""
    claims = facts.claims
    if not claims:
        return fine("No figure is claimed besides those computed here.")
    found = _contradict_claims(claims) or _find_copied(facts)
    if found:
        return wrong(found)
    measured = _list_measured(facts)
    off = [
        f"{name} {value} (it is {measured[name]:.{_decimals(value)}f})"
        for name, value in _list_figures(claims)
        if name in measured and abs(measured[name] - float(value)) > _rounding(value)
    ]
    if off:
        verb = "is" if len(off) == 1 else "are"
        return wrong(f"{plural(len(off), 'figure')} claimed {verb} not what the predictions give: {join_names(off)}.")
    compared = [name for name, _ in _list_figures(claims) if name in measured]
    return fine(f"{plural(len(compared), 'figure')} claimed for it {'is' if len(compared) == 1 else 'are'} what its "
                "predictions give.")  # fmt: skip


def _list_figures(claims: dict[str, Any]) -> Iterator[tuple[str, float | int | str]]:
    for name, value in claims.items():
        if isinstance(value, int | float) and not name.startswith("better_than."):
            yield name, value


def _decimals(value: float | str) -> int:
    return len(str(value).partition(".")[2]) if "e" not in str(value) else 6


def _rounding(value: float | str) -> float:
    """Half a unit of the last digit that is given."""
    return float(0.5 * 10 ** -_decimals(value) + _EXACT)


def _list_measured(facts: Facts) -> dict[str, float]:
    """What can be claimed, as the predictions give it by the newest labels."""
    judged = facts.judged
    found = evaluate(judged.probs, judged.labels, class_names=judged.class_names)
    plain = {key: found[key] for key in ("n", "accuracy", "macro_f1", "weighted_f1", "log_loss", "ece", "top2")}
    if plain["accuracy"] is not None:
        plain["misclassified"] = 1 - plain["accuracy"]
    for row in found["per_class"]:
        plain |= {f"{name}.{row['name']}": row[name] for name in (*ROWS, "support")}
    return {name: float(value) for name, value in plain.items() if value is not None}


def _contradict_claims(claims: dict[str, Any]) -> str:
    """A confusion matrix that comes with an accuracy that it does not give."""
    matrix, said = np.array(claims.get("confusion", [])), claims.get("accuracy")
    if matrix.ndim != 2 or said is None or not matrix.sum():
        return ""
    given = float(np.trace(matrix) / matrix.sum())
    if abs(given - float(said)) <= _rounding(said):
        return ""
    return (
        f"The matrix that came with it gives an accuracy of {given:.4f} and the accuracy beside it is {said}: "
        "one number, two sources, probably two passes over images that were varied at random."
    )


def _find_copied(facts: Facts) -> str:
    """A row of a table that is that of another run, though the two are not alike."""
    for other in run_queries.list_done_runs(facts.session, dataset_id=facts.dataset.id):
        theirs = other.config.get("claims", {})
        if other.id == facts.run.id or not theirs or other.metrics == facts.run.metrics:
            continue
        for row in ROWS:
            keys = [key for key in facts.claims if key.startswith(f"{row}.")]
            if len(keys) >= 3 and all(theirs.get(key) == facts.claims[key] for key in keys):
                return (
                    f"Its claimed {row} of {len(keys)} classes are those of run {other.id} to the last digit, whose "
                    "predictions are others: a row of the table was copied."
                )
    return ""


def check_fractions(facts: Facts) -> Outcome:
    """A claimed share that no number of the images measured on can give."""
    count = int(facts.claims.get("n", len(facts.judged.labels)))
    rates = {name: value for name, value in _list_figures(facts.claims) if name.partition(".")[0] in ("accuracy",)}
    if not rates or not count:
        return fine("No share is claimed that would have to be one of the images measured on.")
    for name, value in rates.items():
        if abs(round(float(value) * count) / count - float(value)) > _rounding(value):
            return wrong(f"{name} {value} is no share of {plural(count, 'image')}{_guess(float(value), value)}.")
    return fine(f"Every claimed accuracy is a share of {plural(count, 'image')}.")


def _guess(value: float, written: float | str) -> str:
    """The smallest denominator that gives it."""
    for denominator in range(1, LARGEST_DENOMINATOR + 1):
        share = round(value * denominator)
        if abs(share / denominator - value) <= _rounding(written) and math.gcd(share, denominator) == 1:
            return f"; it is {share}/{denominator}, as of {denominator} things"
    return ""
