"""Overruling the posterior: an image whose label is kept teaches it, whatever the posterior says."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from workbench.errors import Forbidden, Invalid
from workbench.models import Dataset, User
from workbench.queries import image_lists
from workbench.services import decisions
from workbench.services.decisions import Line

MOST = 10_000  # one request holds the writer meanwhile


def keep_labels(
    session: Session,
    *,
    dataset: Dataset,
    user: User,
    image_ids: Sequence[int],
    keeps: bool = True,
    action: str | None = None,
) -> int:
    """Keep the labels of these images from the posterior, or leave them to it again, as one action to be undone.

    Returns how many that changes; nothing is written if none. It says nothing of the labels: whoever looked and found
    one right confirms it.
    """
    if not user.may("lead"):
        raise Forbidden("Only leads overrule the posterior; ask one.")
    if not image_ids:
        raise Invalid("Tick at least one image.")
    if len(image_ids) > MOST:
        raise Invalid(f"Overrule at most {MOST:,} images at once; narrow the filter.")
    found = image_lists.get_images(session, sorted(set(image_ids)))
    if any(image.dataset_id != dataset.id for image in found):
        raise Invalid("These images belong to another data set.")
    changing = [image for image in found if image.keeps_label != keeps]
    if changing:
        lines = [Line("keep", image.id, detail={"keeps": keeps}) for image in changing]
        decisions.submit(session, dataset=dataset, user=user, lines=lines, action=action)
    return len(changing)
