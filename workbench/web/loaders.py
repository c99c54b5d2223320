"""Fetch the thing a page is about, or raise NotFound. Every view starts here."""

from typing import TypeVar

from workbench.errors import NotFound
from workbench.models import Base, Class, Dataset, Image, Invitation, Job, Queue, QueueItem, Run, Study, User
from workbench.queries import datasets
from workbench.queries.rows import get_row
from workbench.web.boundary import db

Row = TypeVar("Row", bound=Base)


def load_dataset(name: str) -> Dataset:
    return datasets.get_dataset(db(), name)


def load_image(image_id: int, dataset: Dataset | None = None) -> Image:
    return _load(Image, image_id, "image", dataset)


def load_class(class_id: int, dataset: Dataset) -> Class:
    return _load(Class, class_id, "class", dataset)


def load_queue(queue_id: int, dataset: Dataset) -> Queue:
    return _load(Queue, queue_id, "queue", dataset)


def load_run(run_id: int, dataset: Dataset) -> Run:
    return _load(Run, run_id, "run", dataset)


def load_study(study_id: int, dataset: Dataset) -> Study:
    return _load(Study, study_id, "study", dataset)


def load_item(item_id: int, queue: Queue) -> QueueItem:
    item = get_row(db(), QueueItem, item_id)
    if item is None or item.queue_id != queue.id:
        raise NotFound("There is no such item in this queue; the queue may have been rebuilt.")
    return item


def load_job(job_id: int) -> Job:
    return _load(Job, job_id, "job")


def load_user(user_id: int) -> User:
    return _load(User, user_id, "user")


def load_invitation(invitation_id: int) -> Invitation:
    return _load(Invitation, invitation_id, "invitation")


def _load(model: type[Row], row_id: int, word: str, dataset: Dataset | None = None) -> Row:
    """The row, if it is there and belongs to the data set of the address."""
    found = get_row(db(), model, row_id)
    if found is None or (dataset is not None and getattr(found, "dataset_id", None) != dataset.id):
        raise NotFound(f"There is no such {word} here; it may have been removed.")
    return found
