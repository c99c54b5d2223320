"""Probabilities that are none, and probabilities of images that the model had seen."""

import numpy as np

from workbench.queries import runs as run_queries
from workbench.services.evaluations import judge
from workbench.services.leaks import Rate, compare_rates
from workbench.services.run_checks.facts import Facts
from workbench.services.run_checks.outcomes import Outcome, fine, plural, unchecked, wrong
from workbench.services.training_sets import find_training_set

LARGEST_ERROR = 0.02  # of a row's sum; half precision is off by 0.004
TOO_GOOD = 0.15  # by so much are images of train right more often before it is said that they were seen
_MOST = 5000


def check_probabilities(facts: Facts) -> Outcome:
    """Rows that do not sum to 1, or hold values outside 0 to 1."""
    sums = facts.imported.get("sums")
    values = facts.imported.get("values")
    if sums is None or values is None:
        probs = np.asarray(facts.said.probs, np.float64)
        if not len(probs):
            return unchecked("It predicted no image.")
        totals = probs.sum(1)
        sums, values = [float(totals.min()), float(totals.max())], [float(probs.min()), float(probs.max())]
    if values[0] < -LARGEST_ERROR or values[1] > 1 + LARGEST_ERROR:
        return wrong(
            f"Its values go from {values[0]:.3g} to {values[1]:.3g}, so they are scores before the softmax and no "
            "probabilities: log loss and calibration error mean nothing."
        )
    if sums[0] < 1 - LARGEST_ERROR or sums[1] > 1 + LARGEST_ERROR:
        return wrong(
            f"The probabilities of an image sum to {sums[0]:.2f} up to {sums[1]:.2f} instead of 1, as one sigmoid for "
            "each class gives: log loss and calibration error are those of rows divided by their sum."
        )
    return fine("The probabilities of every image sum to 1.")


def check_in_sample(facts: Facts) -> Outcome:
    """Predictions that count as unseen though the model was trained on the picture."""
    said, trained = facts.said, facts.images.trained
    taught = np.isin(said.image_ids, trained)
    if facts.run.config.get("folds") or (facts.is_external and said.out_of_sample[taught].any()):
        return _compare_seen(facts)
    for ancestor in run_queries.list_ancestors(facts.session, facts.run):
        taught |= np.isin(said.image_ids, find_training_set(facts.session, facts.home, ancestor).trained)
    measured = np.isin(facts.images.measured, said.image_ids[taught]).sum()
    if measured:
        return wrong(f"It is measured on {plural(int(measured), 'image')} that it was trained on.")
    false = int((taught & said.out_of_sample).sum())
    if false:
        return wrong(f"{plural(false, 'image')} that it was trained on count as never seen by it.")
    ranked = taught & np.isfinite(said.p_wrong)
    by_heart = ranked & (said.judging == said.probs).all(1)  # not what it said while it learned (ml.dynamics)
    if by_heart.sum() > ranked.sum() / 2:  # a model may be as sure of an image throughout
        return wrong(
            f"P(wrong) of {plural(int(by_heart.sum()), 'image')} rests on probabilities of a model that was trained "
            "on them: it knows their labels by heart."
        )
    return fine("No image that it was trained on counts as unseen.")


def _compare_seen(facts: Facts) -> Outcome:
    """Said to be out of sample: then images of train are about as often right as those of the split measured on."""
    step = max(1, len(facts.images.trained) // _MOST)
    own = judge(facts.session, facts.home, facts.run, image_ids=facts.images.trained[::step].tolist())
    other = facts.judged
    seen = Rate(len(own.labels), int((own.probs.argmax(1) == own.labels).sum()))
    unseen = Rate(len(other.labels), int((other.probs.argmax(1) == other.labels).sum()))
    difference = compare_rates(seen, unseen)
    if difference is None:
        return unchecked("There are no two sets of images whose accuracy could be compared.")
    rates = f"{seen.accuracy:.1%} of the images trained on are right and {unseen.accuracy:.1%} of {other.split}"
    if difference[0] > TOO_GOOD and difference[1] > TOO_GOOD / 2:
        return wrong(
            f"Its probabilities are said to be out of sample, but {rates}: the model had seen what it predicts there, "
            "and P(wrong) cannot be trusted."
        )
    return fine(f"Out of sample as it says: {rates}.")
