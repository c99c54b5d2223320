"""Data sets, their classes and how many images stand where."""

from sqlalchemy import bindparam, func, select
from sqlalchemy.orm import Session

from workbench.errors import NotFound
from workbench.models import Class, Dataset, Image

# built once: asked with every request
_BY_NAME = select(Dataset).where(Dataset.name == bindparam("name"))
_CLASSES = select(Class).where(Class.dataset_id == bindparam("dataset_id")).order_by(Class.position, Class.id)


def get_dataset(session: Session, name: str) -> Dataset:
    """By name; raises NotFound with the names that exist."""
    found = find_dataset(session, name)
    if found is None:
        names = ", ".join(list_names(session)) or "none yet"
        raise NotFound(f"There is no data set “{name}” (there is: {names}).")
    return found


def find_dataset(session: Session, name: str) -> Dataset | None:
    return session.scalar(_BY_NAME, {"name": name})


def list_names(session: Session) -> list[str]:
    return list(session.scalars(select(Dataset.name).order_by(Dataset.name)))


def list_datasets(session: Session) -> list[Dataset]:
    return list(session.scalars(select(Dataset).order_by(Dataset.id)))


def list_classes(session: Session, dataset_id: int) -> list[Class]:
    """All classes in their order, retired and merged ones too."""
    return list(session.scalars(_CLASSES, {"dataset_id": dataset_id}))


def list_open_classes(session: Session, dataset_id: int) -> list[Class]:
    """The classes that reviewers may choose and models are trained on, in their order."""
    return [cls for cls in list_classes(session, dataset_id) if cls.is_open]


def count_images(session: Session, dataset_id: int) -> int:
    return session.scalar(select(func.count()).where(Image.dataset_id == dataset_id)) or 0


def count_labels(session: Session, dataset_id: int) -> dict[int | None, int]:
    """Images per label, excluded ones left out; None counts those without a label and the ambiguous ones."""
    query = (
        select(Image.label_id, func.count())
        .where(Image.dataset_id == dataset_id, Image.status != "excluded")
        .group_by(Image.label_id)
    )
    return {row[0]: row[1] for row in session.execute(query)}


def count_labels_by_split(session: Session, dataset_id: int) -> dict[int | None, dict[str | None, int]]:
    """Images per label and split, excluded ones left out. Looks at every image."""
    query = (
        select(Image.label_id, Image.split, func.count())
        .where(Image.dataset_id == dataset_id, Image.status != "excluded")
        .group_by(Image.label_id, Image.split)
    )
    found: dict[int | None, dict[str | None, int]] = {}
    for label_id, split, number in session.execute(query):
        found.setdefault(label_id, {})[split] = number
    return found


def count_shown_as(session: Session, class_id: int) -> int:
    """How many images show a class, excluded ones too: what a merge of it would change."""
    dataset_id = select(Class.dataset_id).where(Class.id == class_id).scalar_subquery()
    return session.scalar(select(func.count()).where(Image.dataset_id == dataset_id, Image.label_id == class_id)) or 0


def count_splits(session: Session, dataset_id: int, *, trainable: bool = False) -> dict[str | None, int]:
    """trainable: only what a training looks at, images in use with a label."""
    query = select(Image.split, func.count()).where(Image.dataset_id == dataset_id).group_by(Image.split)
    if trainable:
        query = query.where(Image.status == "active", Image.label_id.is_not(None))
    return {row[0]: row[1] for row in session.execute(query)}


def count_statuses(session: Session, dataset_id: int) -> dict[str, int]:
    query = select(Image.status, func.count()).where(Image.dataset_id == dataset_id).group_by(Image.status)
    return {row[0]: row[1] for row in session.execute(query)}
