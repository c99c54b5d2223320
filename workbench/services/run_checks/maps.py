"""Heat maps of where a run looks, if any are shown: whether they passed their test."""

from workbench.services.run_checks.facts import Facts
from workbench.services.run_checks.outcomes import Outcome, fine, wrong
from workbench.services.saliency import judge_test, read_test


def check_maps(facts: Facts) -> Outcome:
    """Maps that mark what matters no more than random places do, as of a layer or a shape that was mixed up."""
    test = read_test(facts.home, facts.run.id)
    if test is None:
        return fine("No map of where it looks was made; whenever one is, it is tested first.")
    verdict = judge_test(test)
    return wrong(verdict.sentence) if verdict.kind == "failed" else fine(verdict.sentence)
