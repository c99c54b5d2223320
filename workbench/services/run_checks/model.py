"""Whether the predictions are those of the model that is named, and came about as its training says."""

import json

from workbench.queries import runs as run_queries
from workbench.services.probes import Probe
from workbench.services.run_checks.facts import Facts
from workbench.services.run_checks.outcomes import Outcome, fine, join_names, plural, unchecked, wrong

AS_TRAINED = "as trained"
REPRODUCED = 0.95  # of the images: stored and computed probabilities are the same but for rounding
REPEATS = 1e-3  # largest difference between two passes over the same images
BATCHES = 0.05  # and between two orders of them; half precision on a GPU may be off by some
NORMALISED = {
    "twice": "after normalising them twice",
    "divided": "after dividing them by 255 before they were normalised",
    "raw": "without normalising them",
}
VARIED = {
    "mirrored": "after mirroring some of them",
    "augmented": "after varying them at random as in training",
}
SATURATED = 1e-3  # log loss below which two models may well say the same in half precision
_NOT_LEARNT = (
    "patience",
    "threads",
    "precision",
    "compile",
    "processes",
)  # settings that may well end in the same model


def check_normalisation(facts: Facts) -> Outcome:
    """Predictions that come about only if images are normalised twice, or not at all."""
    if facts.probe is None:
        return unchecked(f"Not known: {facts.unprobed}.")
    how = find_explanation(facts.probe)
    if how in NORMALISED:
        return wrong(
            f"Its predictions are those that the model gives {NORMALISED[how]} "
            f"({facts.probe.explained[how]:.0%} of {plural(facts.probe.images, 'image')} agree; normalised once, as in "
            f"training, {facts.probe.explained[AS_TRAINED]:.0%})."
        )
    return fine("Images are normalised once, with the mean and spread kept in the checkpoint.")


def check_augmented(facts: Facts) -> Outcome:
    """Images varied at random when they were predicted, or a model that draws lots when it predicts."""
    probe = facts.probe
    if probe is None:
        return unchecked(f"Not known: {facts.unprobed}.")
    if probe.repeats > REPEATS:
        return wrong(
            f"Predicting the same images twice gives two answers (a probability moves by up to {probe.repeats:.2f}): "
            "something is still varied at random when it should only be measured."
        )
    if probe.batches > BATCHES:
        return wrong(
            f"What it says of an image depends on which others are predicted with it (by up to {probe.batches:.2f}): "
            "batch normalisation is still in training mode."
        )
    how = find_explanation(probe)
    if how in VARIED:
        return wrong(
            f"Images were augmented when it was measured: its predictions are those that the model gives {VARIED[how]} "
            f"({probe.explained[how]:.0%} of {plural(probe.images, 'image')} agree; as they are, "
            f"{probe.explained[AS_TRAINED]:.0%})."
        )
    return fine("Predicting twice gives the same; nothing is varied when it is measured.")


def check_model(facts: Facts) -> Outcome:
    """Predictions of another model than the checkpoint: of the last epoch instead of the best, of another run."""
    probe = facts.probe
    if probe is None:
        return unchecked(f"Not known: {facts.unprobed}.")
    if not probe.images:
        return unchecked("There is no image that could be predicted again.")
    share = probe.explained[AS_TRAINED]
    if find_explanation(probe) is None:
        return wrong(
            f"Its predictions are not those of its checkpoint: predicted again, {share:.0%} of "
            f"{plural(probe.images, 'image')} get the same probabilities. They come from another epoch or another run, "
            "such as the last model where the best was kept."
        )
    return fine(f"Its checkpoint gives its predictions again ({plural(probe.images, 'image')} tried).")


def find_explanation(probe: Probe) -> str | None:
    """How the stored predictions can be had from the checkpoint; none if in no way that was tried."""
    if not probe.images or probe.explained[AS_TRAINED] >= REPRODUCED:
        return AS_TRAINED
    how, share = max(probe.explained.items(), key=lambda each: each[1])
    return how if share >= 0.8 and share - probe.explained[AS_TRAINED] > 0.1 else None


def check_settings(facts: Facts) -> Outcome:
    """Settings that were asked for and change nothing."""
    if facts.probe is None:
        return unchecked(f"Not known: {facts.unprobed}.")
    idle = [f"{name}={value}" for name, value in facts.probe.idle.items()]
    if idle:
        return wrong(
            f"{join_names(idle)} {'does' if len(idle) == 1 else 'do'} nothing: the first steps of the training end in "
            "the same weights, bit by bit, with and without."
        )
    if not facts.probe.tried:
        return fine("No setting was asked for besides the preset's whose effect shows in single steps.")
    return fine(f"Every setting that was asked for changes what is learnt ({', '.join(facts.probe.tried)}).")


def check_frozen(facts: Facts) -> Outcome:
    """Layers that no step of the training moves."""
    probe = facts.probe
    if probe is None:
        return unchecked(f"Not known: {facts.unprobed}.")
    if not probe.layers:
        return unchecked("It is built on other runs, or of a kind that is not trained in steps that could be tried.")
    if probe.frozen:
        return wrong(
            f"{plural(len(probe.frozen), 'layer')} of {probe.layers:,} never learn: {join_names(probe.frozen)} "
            f"{'keeps' if len(probe.frozen) == 1 else 'keep'} the weights that were drawn at the start."
        )
    return fine(f"Every layer learns ({probe.layers:,} tried).")


def check_twins(facts: Facts) -> Outcome:
    """Another run that was asked for otherwise and says exactly the same."""
    if facts.is_external or not facts.metrics.get("n"):
        return unchecked("There is nothing to compare with." if facts.is_external else "It is measured on no image.")
    for other in run_queries.list_done_runs(facts.session, dataset_id=facts.dataset.id):
        if other.id != facts.run.id and other.metrics and other.arch != "external":
            same = all(other.metrics.get(key) == facts.metrics.get(key) for key in ("confusion", "log_loss", "n"))
            settings = _differ(facts.run.config, other.config) if other.arch == facts.run.arch else ["arch"]
            if same and settings and facts.metrics["log_loss"] > SATURATED:
                verb = "differs" if len(settings) == 1 else "differ"
                return wrong(
                    f"It gives the same predictions as run {other.id}, to the last digit, though "
                    f"{join_names(settings)} {verb}: the difference does nothing, or a result was copied."
                )
    return fine("No other run says exactly the same.")


def _differ(one: dict[str, object], other: dict[str, object]) -> list[str]:
    """Settings by which two trainings differ and that ought to end in another model."""
    first, second = (json.loads(json.dumps(each.get("training", {}))) for each in (one, other))
    return sorted(key for key in first if key in second and key not in _NOT_LEARNT and first[key] != second[key])
