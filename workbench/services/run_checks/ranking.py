"""Runs that are ranked though chance would rank them so."""

from typing import Any

import numpy as np
from scipy.stats import fisher_exact

from workbench.errors import WorkbenchError
from workbench.queries import runs as run_queries
from workbench.services import comparisons
from workbench.services.run_checks.facts import Facts
from workbench.services.run_checks.outcomes import Outcome, fine, join_names, plural, unchecked, wrong

LEVEL = 0.05


def check_ranking(facts: Facts) -> Outcome:
    """What is said to be worse than this run: on the same images by McNemar's test, else as two shares of n."""
    rivals = {
        name.removeprefix("better_than."): value
        for name, value in facts.claims.items()
        if name.startswith("better_than.")
    }
    if not rivals:
        return fine("It is not said to be better than another run without a test.")
    n, right = len(facts.judged.labels), int(np.trace(facts.table))
    if not n:
        return unchecked("There is no labelled image to compare on.")
    ties = [name for name, value in rivals.items() if _compare(facts, name, value, n=n, right=right) > LEVEL]
    if ties:
        return wrong(
            f"It is said to be better than {join_names(ties)}, which is a tie: with {plural(n, 'image')} the "
            "difference is within what chance makes."
        )
    return fine(f"It is better than {join_names(list(rivals))} beyond chance.")


def _compare(facts: Facts, name: str, value: Any, *, n: int, right: int) -> float:
    """P of a difference as large by chance; 1 where it is no better at all."""
    if name.isdecimal() and value is True:
        return _compare_runs(facts, int(name))
    theirs = round(float(value) * n)
    if right <= theirs:
        return 1.0
    return float(fisher_exact([[right, n - right], [theirs, n - theirs]]).pvalue)


def _compare_runs(facts: Facts, other: int) -> float:
    try:
        rival = run_queries.get_run(facts.session, other)
        found = comparisons.compare(facts.session, facts.home, run_a=rival, run_b=facts.run, split=facts.split)
    except WorkbenchError:
        return 1.0
    return float(found["p"]) if found["difference"] > 0 else 1.0
