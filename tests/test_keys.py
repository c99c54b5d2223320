"""The keys of the card: defaults, what a user chose instead, and what cannot be chosen."""

import pytest

from workbench.errors import Invalid
from workbench.models import Class, User
from workbench.services import keys

DEFAULTS = {action.name: action.key for action in keys.ACTIONS}


@pytest.fixture
def ann() -> User:
    return User(name="ann", role="reviewer", settings={"theme": "dark"})


def test_the_defaults_are_those_of_the_design_and_no_key_does_two_things(ann: User) -> None:
    assert keys.get_keys(ann) == keys.get_keys(None) == DEFAULTS
    assert {name: DEFAULTS[name] for name in ("confirm", "accept", "undo", "redo")} == {
        "confirm": "Enter", "accept": "Space", "undo": "z", "redo": "Shift+Z",
    }  # fmt: skip
    assert len(set(DEFAULTS.values())) == len(DEFAULTS)


def test_what_was_chosen_stands_beside_the_other_settings_and_can_be_reset(ann: User) -> None:
    keys.set_keys(ann, typed={**DEFAULTS, "confirm": "y", "blind": ""}, digits="ranking")
    assert ann.settings == {"theme": "dark", "card_keys": {"confirm": "y", "blind": ""}, "digits": "ranking"}
    assert keys.get_keys(ann) == DEFAULTS | {"confirm": "y", "blind": ""}
    keys.reset_keys(ann)
    assert (keys.get_keys(ann), keys.get_digits(ann)) == (DEFAULTS, "class")


@pytest.mark.parametrize(
    ("typed", "key"),
    [
        ("y", "y"), (" y ", "y"), ("Y", "Shift+Y"), ("shift+y", "Shift+Y"), ("Shift + Y", "Shift+Y"), ("ü", "ü"),
        ("ENTER", "Enter"), ("return", "Enter"), ("⏎", "Enter"), ("space", "Space"), ("left", "ArrowLeft"),
        ("←", "ArrowLeft"), ("Shift+Left", "Shift+ArrowLeft"), ("f2", "F2"), ("pagedown", "PageDown"), (";", ";"),
        ('"', '"'), ("", ""), ("+", "+"),
    ],
)  # fmt: skip
def test_a_key_may_be_written_in_several_ways(ann: User, typed: str, key: str) -> None:
    keys.set_keys(ann, typed={"confirm": typed, "accept": "v", "back": "w"}, digits="class")
    assert keys.get_keys(ann)["confirm"] == key


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("5", "the digits belong to the classes"),
        ("Shift+5", "the digits belong to the classes"),
        ("?", "? always shows the keys"),
        ("Tab", "“Tab” is no key that can be taken"),
        ("Escape", "“Escape” is no key that can be taken"),
        ("Backspace", "is no key that can be taken"),
        ("ab", "“ab” is no key that can be taken"),
        ("Shift+;", "write the character itself, without Shift"),
    ],
)
def test_what_is_no_key_is_refused_with_a_sentence_and_changes_nothing(ann: User, typed: str, words: str) -> None:
    with pytest.raises(Invalid, match=words.replace("?", r"\?").replace("+", r"\+")) as refused:
        keys.set_keys(ann, typed={"comment": typed}, digits="class")
    assert str(refused.value).startswith("Write a comment: ")
    assert set(refused.value.fields) == {"comment"}
    assert ann.settings == {"theme": "dark"}


def test_a_key_twice_is_refused_and_both_actions_are_named(ann: User) -> None:
    with pytest.raises(Invalid) as refused:
        keys.set_keys(ann, typed={"comment": "Z", "undo": "shift+z", "redo": "r"}, digits="class")
    assert str(refused.value) == (
        "⇧Z would do two things: “Write a comment” and “Undo what you did last”. Give one another key."
    )
    assert set(refused.value.fields) == {"comment", "undo"}


def test_actions_without_a_key_do_not_collide(ann: User) -> None:
    keys.set_keys(ann, typed={"blind": "", "stretch": " ", "similar": ""}, digits="class")
    assert [keys.get_keys(ann)[name] for name in ("blind", "stretch", "similar")] == ["", "", ""]


def test_digits_follow_the_classes_or_the_ranking(ann: User) -> None:
    classes = [Class(id=number, name=f"c{number}", key=str(number) if number < 10 else "") for number in range(1, 13)]
    ranked = list(reversed(classes))
    assert keys.get_class_keys(ann, classes, ranked) == [(cls, cls.key) for cls in classes]
    keys.set_keys(ann, typed={}, digits="ranking")
    found = keys.get_class_keys(ann, classes, ranked)
    assert [(cls.id, key) for cls, key in found] == [
        (12, "1"), (11, "2"), (10, "3"), (9, "4"), (8, "5"), (7, "6"), (6, "7"), (5, "8"), (4, "9"), (3, "0"),
        (2, ""), (1, ""),
    ]  # fmt: skip
    assert keys.get_class_keys(ann, classes, []) == [(cls, cls.key) for cls in classes]  # no model says anything


@pytest.mark.parametrize(
    ("key", "sign"), [("Enter", "⏎"), ("Shift+Z", "⇧Z"), ("Shift+ArrowUp", "⇧↑"), ("a", "a"), ("", "")]
)
def test_signs(key: str, sign: str) -> None:
    assert keys.sign(key) == sign
