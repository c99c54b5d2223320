import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy as scipy_entropy

from ml.active.uncertainty import disagreement, entropy, least_confidence, margin

SCORES = [entropy, margin, least_confidence]


@pytest.fixture
def probs():
    return np.random.default_rng(0).dirichlet(np.ones(5) * 0.3, 200).astype(np.float32)


def test_entropy_equals_scipy_over_that_of_a_uniform_row(probs):
    np.testing.assert_allclose(entropy(probs), scipy_entropy(probs, axis=1, base=5), atol=1e-6)


def test_margin_equals_a_sorted_difference(probs):
    expected = [1 - (sorted(row)[-1] - sorted(row)[-2]) for row in probs.tolist()]
    np.testing.assert_allclose(margin(probs), expected, atol=1e-6)


def test_least_confidence_equals_one_minus_the_largest(probs):
    np.testing.assert_allclose(least_confidence(probs), 1 - probs.max(1), atol=1e-6)


def test_disagreement_equals_scipy_squared_and_is_symmetric(probs):
    other = probs[::-1]
    expected = [jensenshannon(a, b, base=2) ** 2 for a, b in zip(probs, other, strict=True)]
    np.testing.assert_allclose(disagreement(probs, other), expected, atol=1e-6)
    np.testing.assert_array_equal(disagreement(probs, other), disagreement(other, probs))
    np.testing.assert_allclose(disagreement(probs, probs), 0, atol=1e-6)


@pytest.mark.parametrize(("score", "highest"), [(entropy, 1.0), (margin, 1.0), (least_confidence, 0.75)])
def test_range_goes_from_sure_to_uniform(score, highest):
    found = score(np.array([[1.0, 0, 0, 0], [0.25] * 4, [0.5, 0.5, 0, 0]]))
    assert found.dtype == np.float32
    assert found[0] == 0
    assert found[1] == pytest.approx(highest)
    assert 0 < found[2] <= highest + 1e-6


def test_models_that_share_no_class_disagree_by_one_bit():
    assert disagreement(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])).tolist() == [1.0]


@pytest.mark.parametrize("score", SCORES)
def test_no_row_one_class_and_two_classes(score):
    assert score(np.zeros((0, 3))).shape == (0,)
    assert score(np.ones((2, 1))).tolist() == [0, 0]
    assert score(np.array([[0.5, 0.5]])) > score(np.array([[0.9, 0.1]]))


@pytest.mark.parametrize("score", [*SCORES, lambda probs: disagreement(probs, probs)])
@pytest.mark.parametrize("probs", [[[np.nan, 1.0]], [[-0.5, 1.5]], [[np.inf, 0]], [0.5, 0.5]])
def test_what_is_no_probability_is_refused(score, probs):
    with pytest.raises(ValueError, match="probs must be"):
        score(np.array(probs))


def test_two_shapes_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        disagreement(np.ones((1, 1)), np.array([[0.5, 0.5]]))
