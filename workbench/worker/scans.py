"""Scans: what a look at every image of a data set finds. One function per kind, named in SCANS."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.dedup import candidates, scan
from ml.dedup.candidates import Candidates, name_pairs
from ml.dedup.chance import Calibration, probability, refit
from ml.dedup.groups import Group, group_pairs
from ml.dedup.scan import LEAST_P, Pairs
from workbench import __version__
from workbench.models import Dataset, utc_now
from workbench.queries import datasets, duplicate_verdicts
from workbench.queries import duplicates as groups
from workbench.queries import pairs as queries
from workbench.services import duplicates
from workbench.services.duplicates import FoundGroup, FoundPair
from workbench.worker.context import Context
from workbench.worker.features import propose_by_features
from workbench.worker.findings import scan_faces, scan_outliers, scan_quality
from workbench.worker.fingerprints import ALGORITHM, Pictures, read_pictures
from workbench.worker.journal import Arrays, Journal

_KEPT_P = 0.05  # of the pairs that are kept, beside those that spoke against joining groups
_CHUNK = 8192  # candidates compared between two entries of the journal


@dataclass(frozen=True)
class _Known:
    """What earlier scans compared, as rows of the pictures. how, transform: by (a, b)."""

    pairs: Pairs
    how: dict[tuple[int, int], str]
    transform: dict[tuple[int, int], dict[str, Any] | None]


class _Copies:
    """Images as the rows of their pictures."""

    def __init__(self, exact: Sequence[Sequence[int]], pictures: Pictures) -> None:
        self._row_of = pictures.row_of
        self._first_of = {image_id: ids[0] for ids in exact for image_id in ids}
        self._ids_of = {ids[0]: ids for ids in exact}

    def list_pairs(self, image_ids: Sequence[int]) -> list[tuple[int, int]]:
        """Every two different pictures among the images."""
        firsts = {self._first_of.get(image_id, image_id) for image_id in image_ids}
        rows = sorted(self._row_of[first] for first in firsts if first in self._row_of)
        return [(one, other) for place, one in enumerate(rows) for other in rows[place + 1 :]]

    def spell_out(self, group: Group, pictures: Pictures) -> FoundGroup:
        """The group with every exact copy of its pictures."""
        firsts = [int(pictures.image_ids[row]) for row in group.rows]
        ids = [image_id for first in firsts for image_id in self._ids_of.get(first, [first])]
        return FoundGroup(sorted(ids), score=group.score, p=group.p)


def scan_duplicates(context: Context, *, dataset: str) -> dict[str, Any]:
    """Find near copies and form the groups anew.

    Only pictures that came since the last scan are compared with the others. Run again after a kill it goes on where
    it was, and ends with the same pairs.
    """
    with context.database.read() as session:
        held = datasets.get_dataset(session, dataset)
        exact = groups.list_exact_copies(session, held.id)
    pictures = read_pictures(context, held.id)
    copies = _Copies(exact, pictures)
    new = _list_new(held, pictures)
    known = _read_known(context, held, pictures) if new is not None else None
    journal = Journal.open(
        context.home.root / "scans" / str(held.id),
        of=[f"{ALGORITHM} {__version__}".encode(), pictures.fingerprints.data, b"" if new is None else new.data],
    )
    pairs = _compare(context, journal, pictures, _propose(context, journal, pictures, new))
    if known is not None:
        pairs = scan.join(pairs, known.pairs)
    run_is_known = (held.calibration or {}).get("run") == held.promoted_run_id
    alike = propose_by_features(context, held, pictures, pairs, new=new if run_is_known else None)
    proposed = _compare(context, journal, pictures, alike, step=f"alike-{held.promoted_run_id}")
    pairs, calibration = _calibrate(context, held, pictures, copies, scan.join(pairs, proposed))
    context.progress(0, 1, "Forming groups")
    pairs = scan.close(pictures.fingerprints, pairs, calibration=calibration)
    result = _store(
        context,
        dataset,
        pictures,
        copies,
        _Outcome(
            pairs=pairs,
            calibration=calibration,
            known=known,
            by_features=set(_names(proposed)),
            compared=len(pictures.image_ids) if new is None else int(new.sum()),
            run_id=held.promoted_run_id,
        ),
    )
    journal.remove()
    return result


def _list_new(dataset: Dataset, pictures: Pictures) -> NDArray[np.bool_] | None:
    """Which pictures came since the last scan; none where all of them have to be compared."""
    newest = _get_compared_to(dataset)
    if newest is None:
        return None
    new = (pictures.image_ids > newest) | pictures.fresh
    return None if 2 * new.sum() > len(new) else new


def _get_compared_to(dataset: Dataset) -> int | None:
    """The newest image that was compared by a scan whose evidence can be set beside this one's."""
    return dataset.compared_to if (dataset.calibration or {}).get("algorithm") == ALGORITHM else None


def _read_known(context: Context, dataset: Dataset, pictures: Pictures) -> _Known:
    row_of = pictures.row_of
    with context.database.read() as session:
        held = [row for row in queries.list_pairs(session, dataset.id) if row.a_id in row_of and row.b_id in row_of]
    one = np.array([row_of[row.a_id] for row in held], np.int64)
    other = np.array([row_of[row.b_id] for row in held], np.int64)
    a, b = np.minimum(one, other), np.maximum(one, other)
    names = list(zip(a.tolist(), b.tolist(), strict=True))
    return _Known(
        pairs=scan.as_compared(
            a,
            b,
            score=np.array([row.score for row in held], np.float32),
            evidence=np.array([row.evidence for row in held], np.float32),
        ),
        how=dict(zip(names, (row.how for row in held), strict=True)),
        transform=dict(zip(names, (row.transform for row in held), strict=True)),
    )


def _calibrate(
    context: Context, dataset: Dataset, pictures: Pictures, copies: _Copies, pairs: Pairs
) -> tuple[Pairs, Calibration]:
    """The pairs with those that reviewers judged, and what is usual among these pictures and by their verdicts."""
    background = scan.measure_background(pictures.fingerprints)
    same, apart = _list_judged(context, dataset, copies)
    if not same and not apart:
        return pairs, Calibration(background)
    judged = np.array(sorted(same | apart), np.int64)
    missing = judged[~np.isin(name_pairs(*judged.T), name_pairs(pairs.a, pairs.b))]
    if len(missing):
        found = candidates.fit_views(pictures.fingerprints, missing[:, 0], missing[:, 1])
        pairs = scan.join(pairs, scan.compare(pictures.fingerprints, found))
    names = _names(pairs)
    known = np.array([name in same or name in apart for name in names], np.bool_)
    truth = np.array([name in same for name in names], np.bool_)[known]
    return pairs, refit(pairs.evidence[known], truth, background=background)


def _list_judged(
    context: Context, dataset: Dataset, copies: _Copies
) -> tuple[set[tuple[int, int]], set[tuple[int, int]]]:
    """Pairs of rows that reviewers, looking at one group at a time, called the same picture, and those they did not."""
    with context.database.read() as session:
        same, apart = queries.list_looked_at(session, dataset.id)
    rejected = {pair for ids in apart for pair in copies.list_pairs(ids)}
    return {pair for ids in same for pair in copies.list_pairs(ids)} - rejected, rejected


def _propose(context: Context, journal: Journal, pictures: Pictures, new: NDArray[np.bool_] | None) -> Candidates:
    found = journal.once(
        "candidates",
        lambda: vars(
            scan.propose(
                pictures.fingerprints,
                new=new,
                on_progress=lambda done, total: context.progress(done, total, "Comparing fingerprints"),
            )
        ),
    )
    return Candidates(**found)


def _compare(
    context: Context, journal: Journal, pictures: Pictures, found: Candidates | None, *, step: str = "pairs"
) -> Pairs:
    if found is None:
        return scan.no_pairs()
    parts = [scan.no_pairs()]
    for rows in candidates.split(found, size=_CHUNK):
        chunk = found.take(np.arange(rows.start, rows.stop))
        held = journal.once(f"{step}-{rows.start}", partial(_compare_chunk, pictures, chunk))
        parts.append(Pairs(**held))
        context.progress(rows.stop, len(found.one), "Comparing pictures")
    return scan.join(*parts)


def _compare_chunk(pictures: Pictures, chunk: Candidates) -> Arrays:
    return vars(scan.compare(pictures.fingerprints, chunk))


@dataclass(frozen=True)
class _Outcome:
    """What a scan found. by_features: pairs of rows that only the run's features proposed. compared: pictures."""

    pairs: Pairs
    calibration: Calibration
    known: _Known | None
    by_features: set[tuple[int, int]]
    compared: int
    run_id: int | None


def _names(pairs: Pairs) -> list[tuple[int, int]]:
    return list(zip(pairs.a.tolist(), pairs.b.tolist(), strict=True))


def _store(context: Context, name: str, pictures: Pictures, copies: _Copies, outcome: _Outcome) -> dict[str, Any]:
    with context.database.read() as session:
        rejected = duplicate_verdicts.list_rejected(session, datasets.get_dataset(session, name).id)
    apart = [pair for ids in rejected for pair in copies.list_pairs(ids)]
    pairs = outcome.pairs
    p = probability(pairs.evidence, calibration=outcome.calibration)
    found = group_pairs(pairs.a, pairs.b, pairs.score, p, min_p=LEAST_P, apart=apart)
    spelled = [copies.spell_out(group, pictures) for group in found]
    kept = _spell_pairs(pictures, outcome, p)
    with context.database.write() as session:
        dataset = datasets.get_dataset(session, name)
        duplicates.replace_pairs(session, dataset, kept)
        exact_groups = duplicates.refresh_exact_groups(session, dataset)
        near_groups = duplicates.refresh_near_groups(session, dataset, spelled)
        dataset.scanned_at = utc_now()
        dataset.compared_to = int(pictures.image_ids.max(initial=0))
        dataset.calibration = {"algorithm": ALGORITHM, "run": outcome.run_id, **asdict(outcome.calibration)}
        images = datasets.count_images(session, dataset.id)
    return {
        "dataset": name,
        "images": images,
        "pictures": pictures.distinct,
        "compared": outcome.compared,
        "flat": pictures.flat,
        "unreadable": pictures.unreadable,
        "pairs": int((p >= LEAST_P).sum()),
        "verdicts": outcome.calibration.verdicts,
        "exact_groups": exact_groups,
        "near_groups": near_groups,
    }


def _spell_pairs(pictures: Pictures, outcome: _Outcome, p: NDArray[np.float32]) -> list[FoundPair]:
    """The pairs worth keeping: those that may hold, and those that speak against joining what others connect."""
    pairs, known = outcome.pairs, outcome.known
    linked = np.unique(np.concatenate([pairs.a[p >= LEAST_P], pairs.b[p >= LEAST_P]]))
    kept = np.flatnonzero((p >= _KEPT_P) | (np.isin(pairs.a, linked) & np.isin(pairs.b, linked)))
    names = _names(pairs.take(kept))
    spelled = []
    for pair, name in zip(kept.tolist(), names, strict=True):
        old = known is not None and name in known.how and not pairs.matrix[pair].any()
        ids = int(pictures.image_ids[name[0]]), int(pictures.image_ids[name[1]])
        transform = known.transform[name] if old and known else _read_transform(pictures, pairs, pair, ids, p)
        how = known.how[name] if old and known else "features" if name in outcome.by_features else "hashes"
        spelled.append(
            FoundPair(
                min(ids),
                max(ids),
                how,
                float(pairs.score[pair]),
                float(p[pair]),
                transform,
                float(pairs.evidence[pair]),
            )
        )
    return spelled


def _read_transform(
    pictures: Pictures, pairs: Pairs, pair: int, ids: tuple[int, int], p: NDArray[np.float32]
) -> dict[str, Any] | None:
    """What makes the later image out of the earlier one; none for a pair that is hardly one picture."""
    if p[pair] < _KEPT_P:
        return None
    return pairs.transform(pair, pictures.fingerprints, backwards=ids[0] > ids[1]).as_json()


SCANS: dict[str, Callable[..., dict[str, Any]]] = {
    "duplicates": scan_duplicates,
    "quality": scan_quality,
    "faces": scan_faces,
    "outliers": scan_outliers,
}
