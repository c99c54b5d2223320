"""Which key does what on the review card: the defaults, and what each user chose instead.

Digits belong to the classes: each to the class that has it, or to the model's ranking of the card, 1 the likeliest.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.errors import Invalid
from workbench.models import Class, User

DIGITS = ("class", "ranking")


@dataclass(frozen=True)
class Action:
    """Something that one key does on the card. `key` is the default."""

    name: str
    key: str
    words: str


ACTIONS = (
    Action("confirm", "Enter", "The given label is right"),
    Action("accept", "Space", "Accept the suggestion"),
    Action("exclude", "u", "Unusable: exclude it, or bring it back"),
    Action("ambiguous", "a", "Ambiguous: pick two or more classes"),
    Action("find", "k", "Find a class by its name"),
    Action("comment", "c", "Write a comment"),
    Action("undo", "z", "Undo what you did last"),
    Action("redo", "Shift+Z", "Redo"),
    Action("back", "ArrowLeft", "The image before"),
    Action("later", "ArrowRight", "Leave it for later"),
    Action("blind", "b", "Hide what others said until you decide"),
    Action("stretch", "t", "Stretch the contrast"),
    Action("saliency", "h", "Heat map of where the model looks"),
    Action("similar", "s", "Images like this one"),
    Action("duplicates", "d", "Duplicates of this"),
    Action("grid", "g", "Many at once, in a grid"),
    Action("search", "/", "Search the images"),
)
_NAMED = (
    *("Enter", "Space", "ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End", "PageUp", "PageDown"),
    *("Insert", *(f"F{number}" for number in range(1, 13))),
)
_BY_WORD = {name.lower(): name for name in _NAMED} | {
    "return": "Enter", "⏎": "Enter", "␣": "Space", "left": "ArrowLeft", "←": "ArrowLeft", "right": "ArrowRight",
    "→": "ArrowRight", "up": "ArrowUp", "↑": "ArrowUp", "down": "ArrowDown", "↓": "ArrowDown",
}  # fmt: skip
_RANKS = "1234567890"
_SIGNS = {"Enter": "⏎", "Space": "␣", "ArrowLeft": "←", "ArrowRight": "→", "ArrowUp": "↑", "ArrowDown": "↓"}


def get_keys(user: User | None) -> dict[str, str]:
    """Action -> key, empty where the user gave it none."""
    chosen = (user.settings if user else {}).get("card_keys", {})
    return {action.name: chosen.get(action.name, action.key) for action in ACTIONS}


def get_digits(user: User | None) -> str:
    """What the digits mean to this user: "class" or "ranking"."""
    found: str = (user.settings if user else {}).get("digits", "class")
    return found


def get_class_keys(user: User | None, classes: Sequence[Class], ranked: Sequence[Class]) -> list[tuple[Class, str]]:
    """The classes in the order of their buttons, each with its key. ranked: by the model's probabilities, or empty."""
    if get_digits(user) == "class" or not ranked:
        return [(cls, cls.key) for cls in classes]
    return [(cls, _RANKS[number] if number < len(_RANKS) else "") for number, cls in enumerate(ranked)]


def set_keys(user: User, *, typed: Mapping[str, str], digits: str) -> None:
    """typed: what was written for each action; one that is missing keeps its default, an empty one has no key."""
    if digits not in DIGITS:
        raise Invalid("The digits mean the classes or the model's ranking.", digits="Pick one of the two.")
    found = {action.name: _parse_key(action, typed.get(action.name, action.key)) for action in ACTIONS}
    _check_once(found)
    _store(user, {action.name: found[action.name] for action in ACTIONS if found[action.name] != action.key}, digits)


def reset_keys(user: User) -> None:
    _store(user, {}, "class")


def _store(user: User, chosen: dict[str, Any], digits: str) -> None:
    user.settings = {**user.settings, "card_keys": chosen, "digits": digits}


def _parse_key(action: Action, typed: str) -> str:
    """“Z”, “shift+z” -> “Shift+Z”; “left” -> “ArrowLeft”; “ü” -> “ü”."""
    shifted, plain = re.fullmatch(r"(?is)(shift\s*\+\s*)?(.*?)\s*", typed.strip()).groups()  # type: ignore[union-attr]
    if not shifted and not plain:
        return ""
    if len(plain) == 1 and plain.isalpha():
        return f"Shift+{plain.upper()}" if shifted or plain != plain.lower() else plain
    if plain.lower() in _BY_WORD:
        return ("Shift+" if shifted else "") + _BY_WORD[plain.lower()]
    refusal = _refuse(plain, shifted=bool(shifted))
    if refusal:
        raise Invalid(f"{action.words}: {refusal}", **{action.name: refusal})
    return plain


def _refuse(plain: str, *, shifted: bool) -> str:
    """Why this cannot be an action's key, empty when it can."""
    if plain.isdecimal():
        return "the digits belong to the classes; take another key."
    if plain == "?":
        return "? always shows the keys of a page; take another key."
    if len(plain) == 1 and plain.isprintable():
        return "write the character itself, without Shift." if shifted else ""
    return f"“{plain[:20]}” is no key that can be taken; write one character, or Enter, Space, Left, Home, F2 …"


def _check_once(found: Mapping[str, str]) -> None:
    """One key does one thing."""
    by_key: dict[str, Action] = {}
    for action in ACTIONS:
        key = found[action.name]
        other = by_key.setdefault(key, action)
        if key and other is not action:
            sentence = f"{sign(key)} would do two things: “{other.words}” and “{action.words}”. Give one another key."
            raise Invalid(sentence, **{other.name: "The same key twice.", action.name: "The same key twice."})


def sign(key: str) -> str:
    """How a key is written on a button: “⏎”, “⇧Z”, “a”."""
    shifted, plain = key.startswith("Shift+") and len(key) > len("Shift+"), key.removeprefix("Shift+")
    return ("⇧" if shifted else "") + _SIGNS.get(plain, plain)
