"""Agreement figures beside reference implementations: scikit-learn, statsmodels, NLTK, and worked examples."""

from fractions import Fraction
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from nltk.metrics.agreement import AnnotationTask
from numpy.typing import NDArray
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import cohens_kappa, fleiss_kappa

from workbench.services import agreement_figures as figures
from workbench.services.agreement_figures import Figure

NEAR = 1e-9
Table = NDArray[np.int64]


def said_tables(*, most_reviewers: int = 6, missing: bool = True) -> st.SearchStrategy[NDArray[np.int16]]:
    """(N, R) of up to five categories, -1 for nothing said."""
    shapes = st.tuples(st.integers(1, 40), st.integers(2, most_reviewers))
    values = st.integers(-1 if missing else 0, 4)
    return shapes.flatmap(lambda shape: arrays(np.int16, shape, elements=values))


def alpha_by_definition(said: NDArray[Any]) -> Fraction | None:
    """Krippendorff 2011 word by word: the coincidence matrix, in whole numbers and fractions."""
    units = [[int(value) for value in row if value >= 0] for row in said]
    units = [values for values in units if len(values) >= 2]
    coincidences: dict[tuple[int, int], Fraction] = {}
    for values in units:
        for one, other in permutations(values, 2):
            coincidences[one, other] = coincidences.get((one, other), Fraction(0)) + Fraction(1, len(values) - 1)
    total = sum(coincidences.values())
    margins: dict[int, Fraction] = {}
    for (one, _), number in coincidences.items():
        margins[one] = margins.get(one, Fraction(0)) + number
    if len(margins) < 2:
        return None
    observed = sum(number for (one, other), number in coincidences.items() if one != other)
    expected = sum(margins[one] * margins[other] for one, other in permutations(margins, 2))
    return 1 - (total - 1) * observed / expected


def alpha_of(said: NDArray[Any], **asked: Any) -> Figure:
    return figures.measure_alpha(figures.count_categories(said, categories=5), **asked)


# --- two reviewers ------------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(said_tables(most_reviewers=2))
def test_kappa_equals_scikit_learn_and_its_variance_statsmodels(said: NDArray[np.int16]) -> None:
    both = said[(said >= 0).all(1)]
    assume(len(np.unique(both)) > 1)
    table = figures.cross_table(said[:, 0], said[:, 1], categories=5)
    found = figures.measure_kappa(table)

    assert found.n == len(both)
    assert found.value == pytest.approx(cohen_kappa_score(both[:, 0], both[:, 1]), abs=NEAR)
    with np.errstate(invalid="ignore", divide="ignore"):  # it also divides by the standard error
        reference = cohens_kappa(table)
    assert found.value == pytest.approx(reference.kappa, abs=NEAR)
    assert figures.kappa_variance(table) == pytest.approx(max(reference.var_kappa, 0), abs=NEAR)
    if np.trace(table) < len(both) and found.low is not None:
        assert found.low == pytest.approx(max(-1, reference.kappa_low), abs=NEAR)
        assert found.high == pytest.approx(min(1, reference.kappa_upp), abs=NEAR)


@settings(max_examples=100, deadline=None)
@given(said_tables(most_reviewers=2), st.integers(0, 4))
def test_one_class_against_the_rest_equals_scikit_learn(said: NDArray[np.int16], category: int) -> None:
    both = said[(said >= 0).all(1)]
    inside = both == category
    assume(inside.any())
    assume(not inside.all())
    table = figures.one_against_rest(figures.cross_table(said[:, 0], said[:, 1], categories=5), category)
    found = figures.measure_kappa(table)
    assert found.value == pytest.approx(cohen_kappa_score(inside[:, 0], inside[:, 1]), abs=NEAR)


def test_kappa_of_the_example_of_fleiss_cohen_and_everitt() -> None:
    """Their table of 1969, as percentages of 200: kappa 0.429, variance 0.002885."""
    table = np.array([[106, 10, 4], [22, 28, 10], [2, 12, 6]])
    found = figures.measure_kappa(table)
    assert found.value == pytest.approx(0.429, abs=5e-4)
    assert figures.kappa_variance(table) == pytest.approx(0.002885, abs=1e-6)
    assert (found.n, round(found.low or 0, 3), round(found.high or 0, 3)) == (200, 0.323, 0.534)


def test_who_never_differed_gets_an_interval_all_the_same() -> None:
    found = figures.measure_kappa(np.array([[4, 0], [0, 4]]))
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx((0.6756 - 0.5) / 0.5, abs=1e-3)
    alpha = figures.measure_alpha(np.array([[2, 0]] * 4 + [[0, 2]] * 4))
    assert (alpha.value, alpha.high) == (1.0, 1.0)
    assert 0.3 < (alpha.low or 0) < 0.5


def test_who_says_one_class_only_agrees_by_chance_and_nobody_knows_how_surely() -> None:
    found = figures.measure_kappa(np.array([[7, 0], [2, 0]]))
    assert (found.value, found.low, found.high, found.n) == (0.0, None, None, 9)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (np.full((5, 2), -1), figures.NO_OVERLAP),
        (np.array([[0, -1], [-1, 1], [2, -1]]), figures.NO_OVERLAP),
        (np.array([[3, 3], [3, 3], [0, -1]]), figures.ONE_CATEGORY),
        (np.array([[2, 2]]), figures.ONE_CATEGORY),
        (np.empty((0, 2), int), figures.NO_OVERLAP),
    ],
)
def test_what_cannot_be_said_is_none_with_its_reason(said: NDArray[np.int64], why: str) -> None:
    table = figures.cross_table(said[:, 0], said[:, 1], categories=5)
    counts = figures.count_categories(said, categories=5)
    for found in (figures.measure_kappa(table), figures.measure_alpha(counts), figures.measure_fleiss(counts)[0]):
        assert (found.value, found.low, found.high, found.why) == (None, None, None, why)


def test_observed_agreement_has_its_wilson_interval() -> None:
    found = figures.measure_observed(np.array([[3, 1], [0, 4]]))
    assert (found.value, found.n, round(found.low or 0, 3), round(found.high or 0, 3)) == (0.875, 8, 0.529, 0.978)


# --- many reviewers -----------------------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(said_tables())
def test_alpha_equals_its_definition_and_nltk(said: NDArray[np.int16]) -> None:
    found = alpha_of(said, resamples=20)
    expected = alpha_by_definition(said)
    if expected is None:
        assert found.value is None
        return
    assert found.value == pytest.approx(float(expected), abs=NEAR)
    lines = [(reviewer, image, int(said[image, reviewer])) for image, reviewer in np.argwhere(said >= 0)]
    assert found.value == pytest.approx(AnnotationTask(lines).alpha(), abs=NEAR)
    assert found.n == np.count_nonzero((said >= 0).sum(1) >= 2)


@pytest.mark.parametrize(
    ("observers", "alpha"),
    [
        (["0100000010", "1110010000"], 0.095),
        (["aabbdcccedda", "babbbccceddd"], 0.692),
        (["123321412...", "1233224125.3", ".3332342251.", "12332441251."], 0.743),
    ],
)
def test_alpha_of_krippendorffs_own_examples(observers: list[str], alpha: float) -> None:
    """Computing Krippendorff's Alpha-Reliability (2011), A to C: two observers, nominal, and four with gaps (.)."""
    letters = sorted(set("".join(observers)) - {"."})
    said = np.array([[-1 if letter == "." else letters.index(letter) for letter in row] for row in observers]).T
    assert alpha_of(said).value == pytest.approx(alpha, abs=5e-4)


@settings(max_examples=200, deadline=None)
@given(said_tables(missing=False))
def test_fleiss_equals_statsmodels(said: NDArray[np.int16]) -> None:
    assume(len(np.unique(said)) > 1)
    counts = figures.count_categories(said, categories=5)
    found, opinions = figures.measure_fleiss(counts, resamples=20)
    assert (opinions, found.n) == (said.shape[1], len(said))
    assert found.value == pytest.approx(fleiss_kappa(counts), abs=NEAR)


def test_fleiss_takes_the_images_with_the_usual_number_of_opinions() -> None:
    said = np.array([[0, 0, 1], [1, 1, 1], [2, 2, -1], [0, -1, -1], [2, 0, 2]])
    counts = figures.count_categories(said, categories=5)
    found, opinions = figures.measure_fleiss(counts)
    assert (opinions, found.n) == (3, 3)
    assert found.value == pytest.approx(fleiss_kappa(counts[[0, 1, 4]]), abs=NEAR)


def test_the_interval_is_the_same_every_time_and_covers_what_a_plain_bootstrap_covers() -> None:
    rng = np.random.default_rng(5)
    truth = rng.integers(0, 4, 400)
    said = np.where(rng.random((400, 3)) < 0.7, truth[:, None], rng.integers(0, 4, (400, 3)))
    found = alpha_of(said)
    assert alpha_of(said) == found

    plain = []
    for _ in range(300):
        counts = figures.count_categories(said[rng.integers(0, 400, 400)], categories=5)
        plain.append(figures.measure_alpha(counts, resamples=1).value)
    low, high = np.percentile(plain, [2.5, 97.5])
    assert (found.low, found.high) == (pytest.approx(low, abs=0.01), pytest.approx(high, abs=0.01))


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """Alpha of the whole of 20,000 images lies in the intervals of 100 samples of 200 in 88 to 100 of them."""
    rng = np.random.default_rng(7)
    truth = rng.integers(0, 4, 20_000)
    said = np.where(rng.random((20_000, 3)) < 0.8, truth[:, None], rng.integers(0, 4, (20_000, 3)))
    whole = alpha_of(said, resamples=1).value
    assert whole is not None
    samples = [alpha_of(said[rng.choice(20_000, 200)], resamples=300) for _ in range(100)]
    covered = sum((found.low or 0) <= whole <= (found.high or 0) for found in samples)
    assert 88 <= covered <= 100


@settings(max_examples=100, deadline=None)
@given(said_tables(), st.integers(0, 4))
def test_specific_agreement_equals_counting_pairs(said: NDArray[np.int16], category: int) -> None:
    weight = same = 0.0
    for row in said:
        values = [value for value in row if value >= 0]
        for one, other in permutations(range(len(values)), 2):
            if values[one] == category:
                weight += 1 / (len(values) - 1)
                same += (values[other] == category) / (len(values) - 1)
    share, _images, times = figures.measure_specific(figures.count_categories(said, categories=5), category)
    assert times == pytest.approx(weight)
    assert share == (pytest.approx(same / weight, abs=NEAR) if weight else None)


def test_confused_classes_are_counted_by_image() -> None:
    said = np.array([[0, 1, 1], [1, 0, -1], [2, 2, 2], [0, 1, 2]])
    together = figures.count_confused(figures.count_categories(said, categories=3))
    assert together.tolist() == [[0, 3, 1], [3, 0, 1], [1, 1, 0]]
