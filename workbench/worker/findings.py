"""Scans that look at every picture by itself: quality, faces; and for those unlike all others.

What is measured is kept by the pixels, so that a copy costs nothing, a killed scan goes on where it was and the next
scan measures only what came since.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml import faces, outliers, quality
from ml.images import Unreadable, decode
from workbench import storage
from workbench.errors import Invalid, NotFound
from workbench.models import FINDINGS, Dataset
from workbench.queries import datasets, pairs
from workbench.queries import findings as queries
from workbench.services import duplicates
from workbench.services.findings import Found, note_scan, replace_findings
from workbench.services.predictions import load_predictions
from workbench.worker.context import Context

_QUALITY = "quality-1"
_FIRST_LOOK = 200  # pictures after which a scan for faces knows whether these are faces
_Measure = Callable[[NDArray[np.uint8]], bytes]
_Results = dict[str, list[Found]]


@dataclass(frozen=True)
class _Measured:
    """What every picture of a data set is like.

    image_ids: int64 (N,) ascending, those measured. values: the bytes kept for each. missing: image id -> why.
    """

    image_ids: NDArray[np.int64]
    values: list[bytes]
    missing: dict[int, str]
    newest: int
    images: int


def scan_quality(context: Context, *, dataset: str) -> dict[str, Any]:
    """Find pictures that are blank, dark, bright, flat, blurred or of odd size, and files that are gone or changed."""
    held = _get_dataset(context, dataset)
    measured = _measure_all(context, held, algorithm=_QUALITY, measure=_measure_quality, every_file=True)
    measures = np.frombuffer(b"".join(measured.values), np.float32).reshape(-1, len(quality.MEASURES))
    limits = quality.choose_limits(measures)
    found: _Results = {"missing": [Found(image_id, 1.0, why) for image_id, why in measured.missing.items()]}
    for kind, judged in quality.judge(measures, limits=limits).items():
        found[kind] = [
            Found(int(measured.image_ids[row]), float(score), _say_quality(kind, float(value), limits))
            for row, score, value in zip(judged.rows, judged.scores, judged.values, strict=True)
        ]
    return _store(context, dataset, "quality", measured, found, detail=asdict(limits))


def scan_faces(context: Context, *, dataset: str) -> dict[str, Any]:
    """Find pictures that show no face or several; nothing is said of a data set most of whose pictures show none."""
    held = _get_dataset(context, dataset)
    detector = faces.find_detector()

    def measure(pixels: NDArray[np.uint8]) -> bytes:
        seen = faces.look_for_faces(pixels, detector=detector)
        return bytes([seen.confidence, min(seen.count, 255)])

    algorithm = f"faces-{detector}-1"
    with faces.on_one_thread():
        first = _measure_all(context, held, algorithm=algorithm, measure=measure, most=_FIRST_LOOK)
    shares = [value[0] >= faces.DOUBTFUL for value in first.values]
    detail: dict[str, Any] = {"detector": faces.name_detector(detector)}
    if not shares or 2 * sum(shares) < len(shares):
        detail |= {"no_faces": True, "looked_at": len(shares), "with_face": sum(shares)}
        return _store(context, dataset, "faces", first, {"no_face": [], "several_faces": []}, detail=detail)
    with faces.on_one_thread():
        measured = _measure_all(context, held, algorithm=algorithm, measure=measure)
    found: _Results = {"no_face": [], "several_faces": []}
    for image_id, (confidence, count) in zip(measured.image_ids.tolist(), measured.values, strict=True):
        if confidence < faces.DOUBTFUL:
            score = 1 - 0.5 * confidence / faces.DOUBTFUL
            found["no_face"].append(Found(image_id, score, _say_no_face(confidence)))
        elif count > 1:
            found["several_faces"].append(Found(image_id, 1 - 1 / count, f"{count} faces were seen"))
    return _store(context, dataset, "faces", measured, found, detail=detail)


def scan_outliers(context: Context, *, dataset: str) -> dict[str, Any]:
    """Find the images that are far from all others in the promoted run's features."""
    held = _get_dataset(context, dataset)
    if held.promoted_run_id is None:
        raise Invalid("Outliers are found by what a model sees: train and promote a run, then scan again.")
    said = load_predictions(context.home, held.promoted_run_id)
    if not said.features.any():
        raise Invalid(f"Run {held.promoted_run_id} came without features, so no image can be told from the others.")
    context.progress(0, 1, "Comparing with the nearest")
    judged = outliers.find_outliers(said.features, said.neighbours)
    found = [
        Found(int(said.image_ids[row]), float(score), f"Its nearest images are {distance:.1f} times as far as usual")
        for row, score, distance in zip(judged.rows, judged.scores, judged.times, strict=True)
    ]
    measured = _Measured(said.image_ids, [], {}, int(said.image_ids.max(initial=0)), len(said.image_ids))
    detail = {"run": held.promoted_run_id, "limit": judged.limit}
    return _store(context, dataset, "outliers", measured, {"outlier": found}, detail=detail)


def scan_findings(context: Context, *, dataset: str) -> dict[str, Any]:
    """Every scan of findings that this data set allows: outliers where a run is promoted."""
    run_id = _get_dataset(context, dataset).promoted_run_id
    can_compare = run_id is not None and load_predictions(context.home, run_id).features.any()
    made = [scan_quality, scan_faces, *([scan_outliers] if can_compare else [])]
    results: dict[str, Any] = {"dataset": dataset}
    for scan in made:
        results |= scan(context, dataset=dataset)
    return results


def _get_dataset(context: Context, name: str) -> Dataset:
    with context.database.read() as session:
        return datasets.get_dataset(session, name)


def _measure_all(
    context: Context,
    dataset: Dataset,
    *,
    algorithm: str,
    measure: _Measure,
    most: int | None = None,
    every_file: bool = False,
) -> _Measured:
    """Measure the pictures that no scan measured before, and read what is known of all.

    most: stop after so many images. every_file: read also the files of pictures that were measured before.
    """
    missing: dict[int, str] = {}
    ids: list[int] = []
    values: list[bytes] = []
    done = 0
    with context.database.read() as session:
        total = min(datasets.count_images(session, dataset.id), most or 10**12)
    for rows in _iterate(context, dataset, most=most):
        known = _read_known(context, rows, algorithm)
        fresh: dict[str, bytes] = {}
        for row in rows:
            if row.pixel_sha256 not in known or every_file:
                _look(context, row, measure, known, fresh, missing)
        _keep(context, fresh, algorithm)
        held = [row for row in rows if row.id not in missing and row.pixel_sha256 in known]
        ids += [row.id for row in held]
        values += [known[row.pixel_sha256] for row in held]
        done += len(rows)
        context.progress(done, total, "Looking at the pictures")
    return _Measured(np.array(ids, np.int64), values, missing, max([*ids[-1:], *missing, 0]), done)


def _iterate(context: Context, dataset: Dataset, *, most: int | None) -> Iterator[Sequence[Any]]:
    """The images in chunks, as they are read from short transactions."""
    after, left = 0, most
    while left is None or left > 0:
        with context.database.read() as session:
            rows = queries.list_files(session, dataset.id, after=after, limit=min(1000, left or 1000))
        if not rows:
            return
        yield rows
        after = rows[-1].id
        left = None if left is None else left - len(rows)


def _read_known(context: Context, rows: Sequence[Any], algorithm: str) -> dict[str, bytes]:
    with context.database.read() as session:
        return pairs.get_values(session, sorted({row.pixel_sha256 for row in rows}), algorithm=algorithm)


def _look(
    context: Context,
    row: Any,
    measure: _Measure,
    known: dict[str, bytes],
    fresh: dict[str, bytes],
    missing: dict[int, str],
) -> None:
    """Read one file and measure it, unless its pixels are known; of one that cannot be read the reason is noted."""
    try:
        data = storage.read_file(context.home, path=row.path, location=row.location, file_sha256=row.file_sha256)
        if row.pixel_sha256 not in known:
            known[row.pixel_sha256] = fresh[row.pixel_sha256] = measure(decode(data))
    except (NotFound, Unreadable) as problem:
        missing[row.id] = str(problem)


def _keep(context: Context, fresh: dict[str, bytes], algorithm: str) -> None:
    if fresh:
        with context.database.write() as session:
            held = pairs.get_known(session, list(fresh), algorithm=algorithm)  # another scan may run beside this one
            duplicates.store_hashes(
                session, {key: value for key, value in fresh.items() if key not in held}, algorithm=algorithm
            )


def _measure_quality(pixels: NDArray[np.uint8]) -> bytes:
    return quality.measure(pixels).tobytes()


def _say_quality(kind: str, value: float, limits: quality.Limits) -> str:
    match kind:
        case "blank":
            return f"All within {value:.0f} of 256 grey levels"
        case "dark":
            return f"Its lightest parts reach {value:.0f} of 255; the limit here is {limits.low[kind]:.0f}"
        case "bright":
            return f"Its darkest parts are at {value:.0f} of 255; the limit here is {255 - limits.low[kind]:.0f}"
        case "low_contrast":
            return f"Light and dark are {value:.0f} grey levels apart; the limit here is {limits.low[kind]:.0f}"
        case "blurred":
            return f"Sharpness {value:.2f}; the limit here is {limits.low[kind]:.2f}"
        case "odd_size":
            return f"{value:.0f} pixels a side, the usual is {limits.usual[kind]:.0f}"
        case _:
            return f"{value:.2f} times as wide as high, the usual is {limits.usual[kind]:.2f}"


def _say_no_face(confidence: int) -> str:
    return f"The surest face was seen with {confidence / 100:.2f}" if confidence else "No face was seen in seven looks"


def _store(
    context: Context, name: str, kind: str, measured: _Measured, found: _Results, *, detail: dict[str, Any]
) -> dict[str, Any]:
    with context.database.write() as session:
        dataset = datasets.get_dataset(session, name)
        counts = {each: replace_findings(session, dataset, kind=each, found=rows) for each, rows in found.items()}
        note_scan(session, dataset, kind=kind, newest_image_id=measured.newest, images=measured.images, detail=detail)
    return {"dataset": name, "images": measured.images, **{each: counts[each] for each in FINDINGS if each in counts}}
