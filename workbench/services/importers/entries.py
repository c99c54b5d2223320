"""What an importer hands over: entries, one for each picture that a source names, and the source itself."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

MAX_CLASS_NAME = 60
_SPLITS = {
    "train": "train", "training": "train", "trn": "train",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
    "publictest": "validation",
    "test": "test", "testing": "test", "tst": "test", "privatetest": "test",
}  # fmt: skip
NO_SPLIT = "none"


@dataclass(slots=True)
class Entry:
    """One picture of a source before it is read. `problem`: why it is refused unread. `file`: where its bytes are."""

    path: str
    file: str = ""
    labels: tuple[str, ...] = ()  # several only for an ambiguous image
    split: str | None = None
    status: str = "active"
    attributes: dict[str, str] = field(default_factory=dict)
    votes: dict[str, int] = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True, slots=True)
class ClassHint:
    """A class that the source announces, in its order, with what it says about its looks."""

    name: str
    colour: str = ""
    key: str | None = None
    retired: bool = False


class Source(Protocol):
    """An opened source: entries in a fixed order, and their bytes."""

    format: str
    classes: Sequence[ClassHint]

    def count(self) -> int:
        """How many entries there will be, about; 0 if that is not known cheaply."""

    def entries(self) -> Iterator[Entry]: ...

    def read(self, entry: Entry) -> bytes:
        """The bytes of an entry's picture; raises Refused."""

    def location(self, entry: Entry) -> str | None:
        """The absolute path of a file that can be referenced in place, none if its bytes must be stored."""


def parse_split(name: str) -> str | None:
    """The split that a folder or a column means: train, validation, test, or none."""
    return _SPLITS.get(re.sub(r"[^a-z]", "", name.casefold()))


def is_split(name: str) -> bool:
    """Whether a folder stands for a split, or for none of them, as an export writes it."""
    return parse_split(name) is not None or name == NO_SPLIT


def class_problem(name: str) -> str:
    """Why a class cannot be called that."""
    if len(name) > MAX_CLASS_NAME:
        return f"the class name has more than {MAX_CLASS_NAME} characters"
    if "|" in name or not name.isprintable():
        return f"“{name}” cannot be a class name: no | and no control characters"
    return ""
