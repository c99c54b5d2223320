"""Labels measured on that were cleaned by following a model's own flags."""

from workbench.queries import decisions as log
from workbench.queries import run_checks as queries
from workbench.services.protection import is_flagged, is_marked
from workbench.services.run_checks.facts import Facts
from workbench.services.run_checks.outcomes import Outcome, fine, plural, wrong


def check_own_flags(facts: Facts) -> Outcome:
    """A test set on which a model decided what is looked at agrees with models more than the world does."""
    changed = _count_changed(facts)
    if changed or is_marked(facts.dataset, facts.split):
        images = plural(changed, "label") if changed else "Labels"
        verb = "was" if changed == 1 else "were"
        return wrong(
            f"{images} of {facts.split} {verb} changed by following what a model flagged there: "
            "every accuracy on it is too high. Freeze the split, and review a random sample of it instead."
        )
    return fine(f"No label of {facts.split} was changed because a model flagged it.")


def _count_changed(facts: Facts) -> int:
    """Images measured on whose label, status or class followed from a queue of flags, undone verdicts left out."""
    flagged = [queue.id for queue in queries.list_queues(facts.session, facts.dataset.id) if is_flagged(queue)]
    if not flagged:
        return 0
    verdicts = queries.list_queue_verdicts(facts.session, facts.dataset.id, queue_ids=flagged)
    if not verdicts:
        return 0
    undone = log.get_undone(facts.session, dataset_id=facts.dataset.id)
    measured = set(facts.images.measured.tolist())
    return len({line.image_id for line in verdicts if line.action not in undone and line.image_id in measured})
