"""Votes: what imports said, and what verdicts on duplicates carried over from the copies that went."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from workbench.models import Decision, Vote
from workbench.models.states import fold_votes
from workbench.queries import decisions as log
from workbench.queries import votes as queries


def refresh_votes(session: Session, image_ids: Sequence[int]) -> None:
    """Bring the sums of these images to what the log says; images to which nothing was ever carried are left alone."""
    session.flush()
    found = log.list_vote_lines(session, image_ids)
    undone = {line.action: log.is_undone(session, line.action) for lines in found.values() for line in lines}
    stored = queries.list_votes_by_image(session, list(found))
    for image_id, lines in found.items():
        counting = [line for line in lines if not undone[line.action]]
        _store_votes(session, image_id, stored.get(image_id, []), counting)
    session.flush()


def _store_votes(session: Session, image_id: int, stored: Sequence[Vote], counting: Sequence[Decision]) -> None:
    carried = fold_votes(counting)
    for vote in stored:
        vote.count = vote.first_count + carried.pop(vote.option, (None, 0))[1]
        if vote.count == 0:
            session.delete(vote)
    for option, (class_id, count) in carried.items():
        session.add(Vote(image_id=image_id, option=option, class_id=class_id, count=count, first_count=0))
