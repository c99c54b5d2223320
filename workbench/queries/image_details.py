"""What is known about one image: its votes, attributes, copies, import. Each function costs one statement."""

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from workbench.models import Attribute, Image, Import, Vote

_ATTRIBUTE_NAMES = text(
    "WITH RECURSIVE names(name) AS (SELECT min(name) FROM attributes UNION ALL"
    " SELECT (SELECT min(name) FROM attributes WHERE name > names.name) FROM names WHERE names.name IS NOT NULL)"
    " SELECT name FROM names WHERE name IS NOT NULL LIMIT 200"
)  # hops from name to name along the index: SELECT DISTINCT would read every row


def list_votes(session: Session, image_id: int) -> list[Vote]:
    """Most votes first."""
    return list(session.scalars(select(Vote).where(Vote.image_id == image_id).order_by(Vote.count.desc(), Vote.option)))


def list_attributes(session: Session, image_id: int) -> list[Attribute]:
    return list(session.scalars(select(Attribute).where(Attribute.image_id == image_id).order_by(Attribute.name)))


def list_copies(session: Session, image: Image, *, limit: int = 24) -> list[Image]:
    """Other images of the data set with the very same pixels."""
    query = select(Image).where(
        Image.dataset_id == image.dataset_id, Image.pixel_sha256 == image.pixel_sha256, Image.id != image.id
    )
    return list(session.scalars(query.order_by(Image.id).limit(limit)))


def get_import(session: Session, image: Image) -> Import:
    return session.get_one(Import, image.import_id)


def list_attribute_names(session: Session) -> list[str]:
    return [name for (name,) in session.execute(_ATTRIBUTE_NAMES)]
