"""Groups of images: rates, tests and corrections against SciPy and statsmodels, and on images with attributes."""

import numpy as np
import pytest
from scipy import stats
from sqlalchemy import select
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from tests.conftest import make_pets
from tests.trained_runs import add_run
from workbench.config import Home
from workbench.db import Database
from workbench.errors import Invalid, NotFound
from workbench.models import Attribute, Dataset, Image, Run, Vote
from workbench.services import subgroups, users
from workbench.services.evaluations import judge
from workbench.services.subgroups import compare_groups, correct, join_values, make_sentence


def spread(rights: dict[str, tuple[int, int]]) -> tuple[list[str], np.ndarray]:
    """Group -> (right, n), as values and outcomes of images."""
    values = [value for value, (_, n) in rights.items() for _ in range(n)]
    right = np.concatenate([np.arange(n) < good for good, n in rights.values()])
    return values, right


RACE = {"dark": (108, 120), "asian": (114, 120), "white": (116, 120)}  # of a published study that tested nothing
AGE = {"babies": (86, 90), "children": (87, 90), "adults": (89, 90), "elderly": (76, 90)}


def test_a_published_finding_is_no_more_than_chance() -> None:
    values, right = spread(RACE)
    found = compare_groups(values, right, by="race", against="white")
    dark = next(group for group in found.groups if group.value == "dark")
    assert (dark.rate.accuracy, dark.differs) == (0.9, False)
    assert dark.rate.interval == pytest.approx(proportion_confint(108, 120, method="wilson"), abs=1e-9)
    assert dark.p == pytest.approx(0.067, abs=5e-4)
    assert [group.value for group in found.groups if group.p is None] == ["white"]
    assert "No group by “race” differs from “white” by more than chance (2 comparisons" in make_sentence(found)


def test_a_real_difference_is_told_with_its_size() -> None:
    values, right = spread(AGE)
    found = compare_groups(values, right, by="age", against="adults")
    elderly = next(group for group in found.groups if group.value == "elderly")
    assert elderly.p == pytest.approx(0.0006, abs=5e-5)
    assert elderly.differs
    assert "“elderly” by −14.4 points [−2" in make_sentence(found)
    assert next(group for group in found.groups if group.value == "adults").p is None


def test_tests_equal_those_of_scipy() -> None:
    values, right = spread(AGE)
    found = compare_groups(values, right, by="age")
    whole, n = int(right.sum()), len(right)
    expected = [
        stats.fisher_exact([[good, size - good], [whole - good, n - size - (whole - good)]]).pvalue
        for good, size in (AGE[group.value] for group in found.groups)
    ]
    assert [group.p for group in found.groups] == pytest.approx(expected, abs=1e-9)
    assert [group.holm for group in found.groups] == pytest.approx(
        multipletests(expected, method="holm")[1].tolist(), abs=1e-9
    )
    table = [[good, size - good] for good, size in AGE.values()]
    assert found.p == pytest.approx(stats.chi2_contingency(table, correction=False).pvalue, abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_corrections_equal_those_of_statsmodels(seed: int) -> None:
    p = np.round(np.random.default_rng(seed).random(7) ** 3, 2).tolist()  # with ties
    assert correct(p) == pytest.approx(multipletests(p, method="holm")[1].tolist(), abs=1e-9)
    assert correct([]) == []


def test_small_groups_are_not_judged_together() -> None:
    values, right = spread({"a": (3, 4), "b": (50, 60)})
    assert compare_groups(values, right, by="x").p is None
    values, right = spread({"10 to 20": (3, 4), "2 to 9": (5, 6)})
    assert [group.value for group in compare_groups(values, right, by="age").groups] == ["2 to 9", "10 to 20"]
    values, right = spread({"a": (4, 4), "b": (6, 6)})
    found = compare_groups(values, right, by="x")
    assert (found.p, [group.holm for group in found.groups]) == (None, [1.0, 1.0])


def test_one_group_has_nothing_to_be_compared_with() -> None:
    found = compare_groups(*spread({"only": (2, 3)}), by="x")
    assert (found.groups[0].p, found.groups[0].difference) == (None, None)
    assert make_sentence(found).startswith("All images have one value")
    with pytest.raises(Invalid, match="no value “none”"):
        compare_groups(*spread(RACE), by="race", against="none")


def test_many_values_are_joined() -> None:
    assert join_values(["b", "a", "b"]) == ["b", "a", "b"]
    ages = join_values([str(age) for age in range(1, 101)])
    assert ages[0] == "1 to 25"
    assert len(set(ages)) == 4
    words = join_values([f"name {number}" for number in range(40)] + ["often"] * 5)
    assert words.count("often") == 5
    assert (len(set(words)), words.count(subgroups.OTHERS)) == (20, 22)


# --- images of a data set


@pytest.fixture
def run_id(database: Database, home: Home) -> int:
    """A run that errs on cats 0, 1 and 3; the twelve test images carry an attribute, all but the last."""
    with database.write() as session:
        dataset = make_pets(session, per_class=8)
        alice = users.ensure_user(session, "alice", role="lead")
        wrong = {"cat/1.png": "dog", "cat/3.png": "dog", "owl/1.png": "cat"}
        run = add_run(session, home, dataset=dataset, user=alice, mistakes=wrong)
        for image in list_tested(session)[:-1]:
            fur = "none" if image.path.startswith("owl") else "some"
            session.add(Attribute(image_id=image.id, name="fur", value=fur))
        return run.id


def list_tested(session: object) -> list[Image]:
    return list(session.scalars(select(Image).where(Image.split == "test").order_by(Image.id)))  # type: ignore[attr-defined]


def test_the_images_measured_on_are_told_apart_by_an_attribute(database: Database, home: Home, run_id: int) -> None:
    with database.read() as session:
        dataset = session.scalars(select(Dataset)).one()
        judged = judge(session, home, session.get_one(Run, run_id))
        found = subgroups.report(subgroups.measure_groups(session, dataset, judged, by="fur"))
        assert list(subgroups.list_facts(session, dataset, judged)) == ["fur", "label source", "size"]  # nobody voted
    assert (found["n"], found["without"]) == (11, 1)
    assert [(group["value"], group["n"], group["accuracy"]) for group in found["groups"]] == [
        ("some", 8, 0.75), ("none", 3, 2 / 3),
    ]  # fmt: skip
    assert found["groups"][0]["difference"] == pytest.approx(0.75 - 2 / 3)


def test_votes_and_other_facts_group_too(database: Database, home: Home, run_id: int) -> None:
    with database.write() as session:
        cat = list_tested(session)[0]
        session.add(Vote(image_id=cat.id, option="cat", class_id=cat.label_id, count=6))
        session.add(Vote(image_id=cat.id, option="dog", class_id=(cat.label_id or 0) + 1, count=3))
        session.add(Vote(image_id=cat.id, option="not a pet", class_id=None, count=9))
    with database.read() as session:
        dataset = session.scalars(select(Dataset)).one()
        judged = judge(session, home, session.get_one(Run, run_id))
        assert list(subgroups.list_facts(session, dataset, judged)) == ["fur", "clear votes", "label source", "size"]
        voted = subgroups.measure_groups(session, dataset, judged, by="clear votes")
        assert [(group.value, group.rate.n) for group in voted.groups] == [("half or more", 1)]
        assert voted.without == 11
        source = subgroups.measure_groups(session, dataset, judged, by="label source")
        assert [(group.value, group.rate.n) for group in source.groups] == [("imported", 12)]
        assert subgroups.measure_groups(session, dataset, judged, by="size").groups[0].value.count("×") == 1
        with pytest.raises(NotFound, match="has a value for “age”; there is: fur"):
            subgroups.measure_groups(session, dataset, judged, by="age")
