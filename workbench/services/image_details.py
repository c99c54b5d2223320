"""Everything the page of one image shows."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from workbench.config import Home
from workbench.errors import NotFound
from workbench.models import FINDINGS, Attribute, Class, Dataset, Image, Import, User, Vote
from workbench.queries import datasets, image_lists
from workbench.queries import duplicates as groups
from workbench.queries import image_details as queries
from workbench.queries.duplicates import GroupImages
from workbench.queries.findings import list_of_image
from workbench.services import predictions
from workbench.services.beliefs import Belief, find_belief
from workbench.services.history import Entry, list_entries

NEIGHBOURS = 12


@dataclass(frozen=True)
class ClassShare:
    cls: Class
    share: float


@dataclass(frozen=True)
class Neighbour:
    image: Image
    similarity: float


@dataclass(frozen=True)
class ImageDetails:
    image: Image
    source: Import
    classes: dict[int, Class]
    votes: list[Vote]
    attributes: list[Attribute]
    history: list[Entry]  # newest first, undone ones too
    copies: list[Image]
    groups: list[GroupImages]
    run_id: int | None  # the promoted run, if it has predictions
    shares: list[ClassShare]  # its probabilities for this image, most first; empty if it never saw it
    out_of_sample: bool  # the model that said it was not trained on this image
    neighbours: list[Neighbour]
    belief: Belief | None  # the posterior of an image that nobody has decided on
    findings: list[tuple[str, str]]  # what scans say: in a word, and why


def describe(
    session: Session, home: Home, *, dataset: Dataset, image: Image, viewer: User | None = None
) -> ImageDetails:
    """Costs a constant number of statements and one pass over the promoted run's features."""
    classes = {cls.id: cls for cls in datasets.list_classes(session, dataset.id)}
    found = _load_promoted(home, dataset)
    return ImageDetails(
        image=image,
        source=queries.get_import(session, image),
        classes=classes,
        votes=queries.list_votes(session, image.id),
        attributes=queries.list_attributes(session, image.id),
        history=list_entries(session, dataset, viewer=viewer, image_id=image.id),
        copies=queries.list_copies(session, image),
        groups=groups.list_groups_of_image(session, image.id),
        run_id=dataset.promoted_run_id if found else None,
        shares=_list_shares(found, image, classes),
        out_of_sample=_is_out_of_sample(found, image),
        neighbours=_list_neighbours(session, found, image),
        belief=find_belief(home, dataset.promoted_run_id, image, classes),
        findings=[(FINDINGS[row.kind], row.reason) for row in list_of_image(session, image.id)],
    )


def _load_promoted(home: Home, dataset: Dataset) -> predictions.Predictions | None:
    if dataset.promoted_run_id is None:
        return None
    try:
        return predictions.load_predictions(home, dataset.promoted_run_id)
    except NotFound:  # the run's folder was moved away: the page shows what the database knows
        return None


def _list_shares(
    found: predictions.Predictions | None, image: Image, classes: dict[int, Class], *, limit: int = 5
) -> list[ClassShare]:
    row = found.find(image.id) if found else None
    if found is None or row is None:
        return []
    pairs = zip(found.class_ids.tolist(), found.probs[row].tolist(), strict=True)
    best = sorted(pairs, key=lambda pair: -pair[1])[:limit]
    return [ClassShare(classes[class_id], share) for class_id, share in best if class_id in classes]


def _is_out_of_sample(found: predictions.Predictions | None, image: Image) -> bool:
    row = found.find(image.id) if found else None
    return found is not None and row is not None and bool(found.out_of_sample[row])


def _list_neighbours(session: Session, found: predictions.Predictions | None, image: Image) -> list[Neighbour]:
    near = dict(predictions.nearest(found, image.id, NEIGHBOURS)) if found else {}
    images = image_lists.get_images(session, list(near))
    return [Neighbour(other, near[other.id]) for other in images]
