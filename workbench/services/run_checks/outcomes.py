"""What a check comes to: one sentence, and whether it says that a number cannot be believed."""

from dataclasses import dataclass

STATUSES = ("fine", "wrong", "unchecked")


@dataclass(frozen=True)
class Outcome:
    """status: fine, wrong, or unchecked where what would tell it is not there."""

    status: str
    sentence: str


def fine(sentence: str) -> Outcome:
    return Outcome("fine", sentence)


def wrong(sentence: str) -> Outcome:
    return Outcome("wrong", sentence)


def unchecked(sentence: str) -> Outcome:
    return Outcome("unchecked", sentence)


def plural(count: int, one: str, many: str | None = None) -> str:
    """3 images, 1 image."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def join_names(names: list[str], *, most: int = 3) -> str:
    """“a, b, c and 4 more”."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
