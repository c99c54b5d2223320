"""Data sets, and their classes as decisions."""

import re
from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from workbench.errors import Invalid
from workbench.models import CLASS_COLOURS, Class, Dataset, User
from workbench.queries import datasets as queries
from workbench.services import decisions
from workbench.services.decisions import Line

DIGITS = "1234567890"


def ensure_dataset(session: Session, name: str) -> Dataset:
    """The data set of that name, made if absent."""
    name = read_dataset_name(name)
    found = queries.find_dataset(session, name)
    if found is None:
        found = Dataset(name=name)
        session.add(found)
        session.flush()
    return found


def read_dataset_name(name: str) -> str:
    """Without the blanks around it; raises Invalid if no data set can be called that."""
    name = name.strip()
    # dots alone would be steps up and down in the addresses of its pages
    if not re.fullmatch(r"[^/\\]{1,80}", name) or not name.isprintable() or name in (".", ".."):
        raise Invalid("A data set's name has 1 to 80 characters and no slash.", dataset="1 to 80 characters, no slash.")
    return name


def ensure_classes(session: Session, dataset: Dataset, names: Sequence[str]) -> dict[str, Class]:
    """The classes that an import brings, by name; new ones come after those that exist, in the order given."""
    found = {cls.name: cls for cls in queries.list_classes(session, dataset.id)}
    for name in names:
        if name not in found:
            found[name] = _add_class(session, dataset, name, taken=list(found.values()))
    session.flush()
    return {name: found[name] for name in names}


def _add_class(
    session: Session, dataset: Dataset, name: str, *, taken: Sequence[Class], added_by: str | None = None
) -> Class:
    position = 1 + max((cls.position for cls in taken), default=-1)
    colour = CLASS_COLOURS[position % len(CLASS_COLOURS)]
    key = _free_key(name, taken)
    cls = Class(
        dataset_id=dataset.id, name=name, position=position, colour=colour, key=key,
        first_name=name, first_position=position, first_colour=colour, first_key=key, added_by=added_by,
    )  # fmt: skip
    session.add(cls)
    session.flush()
    return cls


def _free_key(name: str, taken: Sequence[Class]) -> str:
    """A class that is called by a digit gets that digit, any other the first one that is free."""
    used = {cls.key for cls in taken}
    return next((key for key in (name, *DIGITS) if key in DIGITS and len(key) == 1 and key not in used), "")


def add_class(session: Session, *, dataset: Dataset, user: User, name: str) -> Class:
    classes = queries.list_classes(session, dataset.id)
    _check_name(name, classes)
    action = decisions.new_action()
    cls = _add_class(session, dataset, name.strip(), taken=classes, added_by=action)
    decisions.submit(session, dataset=dataset, user=user, lines=[Line("class_add", class_id=cls.id)], action=action)
    return cls


def edit_class(session: Session, *, dataset: Dataset, user: User, cls: Class, **changes: Any) -> str:
    """Rename, recolour, move or give a key. changes: name, colour, key, position; equal values are left out."""
    changes = {field: value for field, value in changes.items() if getattr(cls, field) != value}
    if not changes:
        raise Invalid("Nothing was changed.")
    others = [other for other in queries.list_classes(session, dataset.id) if other.id != cls.id]
    if "name" in changes:
        changes["name"] = changes["name"].strip()
        _check_name(changes["name"], others)
    if not re.fullmatch(r"#[0-9A-Fa-f]{6}", changes.get("colour", "#000000")):
        raise Invalid("A colour is six hexadecimal digits, for example #0072B2.", colour="Like #0072B2.")
    _check_key(changes.get("key", ""), others)
    line = Line("class_edit", class_id=cls.id, detail=changes)
    return decisions.submit(session, dataset=dataset, user=user, lines=[line])


def move_class(session: Session, *, dataset: Dataset, user: User, cls: Class, step: int) -> str:
    """Swap places with the open class before (step -1) or after (step 1) it, as one action."""
    opened = queries.list_open_classes(session, dataset.id)
    ids = [other.id for other in opened]
    target = ids.index(cls.id) + step if cls.id in ids else -1
    if not 0 <= target < len(opened):
        raise Invalid("This class cannot be moved further.")
    opened[target - step], opened[target] = opened[target], opened[target - step]
    lines = [
        Line("class_edit", class_id=other.id, detail={"position": position})
        for position, other in enumerate(opened)
        if other.position != position
    ]
    return decisions.submit(session, dataset=dataset, user=user, lines=lines)


def merge_class(session: Session, *, dataset: Dataset, user: User, cls: Class, into: Class) -> str:
    """All images of `cls` show `into` from now on; one undo brings them back."""
    if cls.id == into.id:
        raise Invalid("A class cannot be merged into itself.")
    if not (cls.is_open and into.is_open):
        raise Invalid("Only open classes can be merged.")
    line = Line("class_merge", class_id=cls.id, detail={"into": into.id})
    return decisions.submit(session, dataset=dataset, user=user, lines=[line])


def retire_class(session: Session, *, dataset: Dataset, user: User, cls: Class) -> str:
    """Reviewers can no longer choose it, models no longer learn it; images that carry it keep it."""
    return decisions.submit(session, dataset=dataset, user=user, lines=[Line("class_retire", class_id=cls.id)])


def restore_class(session: Session, *, dataset: Dataset, user: User, cls: Class) -> str:
    return decisions.submit(session, dataset=dataset, user=user, lines=[Line("class_restore", class_id=cls.id)])


def _check_name(name: str, others: Sequence[Class]) -> None:
    name = name.strip()
    if not 1 <= len(name) <= 60 or "|" in name or not name.isprintable():
        raise Invalid("A class name has 1 to 60 characters and no |.", name="1 to 60 characters, no |.")
    if any(other.name.casefold() == name.casefold() for other in others):
        raise Invalid(f"There is a class “{name}” already; merge the two instead.", name="This name is taken.")


def _check_key(key: str, others: Sequence[Class]) -> None:
    if key and (len(key) != 1 or key not in DIGITS):
        raise Invalid("A class key is one digit.", key="One digit, or empty.")
    taken = next((other for other in others if key and other.key == key and other.is_open), None)
    if taken:
        raise Invalid(f"Key {key} belongs to “{taken.name}”.", key=f"Taken by “{taken.name}”.")


def get_class(session: Session, dataset: Dataset, name: str) -> Class:
    """An open class by name, for input that names classes; raises Invalid with the names that exist."""
    found = session.scalar(select(Class).where(Class.dataset_id == dataset.id, Class.name == name))
    if found is None or not found.is_open:
        names = ", ".join(cls.name for cls in queries.list_open_classes(session, dataset.id))
        raise Invalid(f"“{name}” is not a class of {dataset.name} (it has: {names}).")
    return found
