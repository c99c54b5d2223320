"""What a run says about pictures outside its data set: one file, a folder, an archive, a CSV."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.images import Unreadable, load_batch
from ml.predict import Model, load_model, predict
from workbench.errors import Invalid, NotFound
from workbench.queries import runs as queries
from workbench.services.importers import open_source
from workbench.services.importers.entries import Entry
from workbench.services.importers.trees import Refused
from workbench.services.measures import evaluate
from workbench.worker.context import Context

_CHUNK = 500


@dataclass(frozen=True)
class _Answer:
    """One picture of a source: what the run says, or why it could not be asked."""

    entry: Entry
    probs: NDArray[np.float32] | None
    problem: str = ""


def predict_source(context: Context, *, run: int, source: str) -> dict[str, Any]:
    """Class and probabilities of every picture of `source`, in its order; what could not be read, with reasons."""
    names, model = _open_model(context, run)
    answers = list(_ask(context, model, Path(source)))
    return {
        "run": run,
        "classes": names,
        "images": [_describe(answer, names) for answer in answers if answer.probs is not None],
        "refused": _list_refused(answers),
    }


def evaluate_source(context: Context, *, run: int, source: str) -> dict[str, Any]:
    """Measure the run on a labelled source outside its data set; classes that it does not know are refused."""
    names, model = _open_model(context, run)
    answers = [_check_label(answer, names) for answer in _ask(context, model, Path(source))]
    asked = [(answer.entry.labels[0], answer.probs) for answer in answers if answer.probs is not None]
    if not asked:
        raise Invalid(f"“{source}” holds no readable image of the run's classes ({', '.join(names)}).")
    labels = np.array([names.index(label) for label, _ in asked], np.int64)
    measured = evaluate(np.stack([probs for _, probs in asked]), labels, class_names=names)
    return {"run": run, "split": f"on {Path(source).name}", **measured, "refused": _list_refused(answers)}


def _open_model(context: Context, run_id: int) -> tuple[list[str], Model]:
    with context.database.read() as session:
        run = queries.get_run(session, run_id)
        if run.status != "done":
            raise Invalid(f"Run {run_id} is {run.status}; only a run that is done can predict.")
        names = [str(cls["name"]) for cls in run.config["classes"]]
    try:
        return names, load_model(context.home.run_folder(run_id) / "checkpoint.pt")
    except (FileNotFoundError, ValueError) as error:
        raise NotFound(f"The checkpoint of run {run_id} is gone or damaged; train again.") from error


def _ask(context: Context, model: Model, source: Path) -> Iterator[_Answer]:
    chunk: list[tuple[Entry, NDArray[np.uint8]]] = []
    done = 0
    for entry, data in _read(source):
        image, problem = _decode(model, data)
        if image is None:
            yield _Answer(entry, None, problem)
        else:
            chunk.append((entry, image))
        if len(chunk) == _CHUNK:
            yield from _predict_chunk(model, chunk)
            done += len(chunk)
            context.progress(done, 0, "Predicting")
            chunk = []
    yield from _predict_chunk(model, chunk)


def _decode(model: Model, data: bytes | str) -> tuple[NDArray[np.uint8] | None, str]:
    """The picture as the model takes it, (1, C, S, S), or none and the reason."""
    if isinstance(data, str):
        return None, data
    try:
        return load_batch([data], size=model.config.image_size, channels=model.config.channels), ""
    except Unreadable as error:
        return None, str(error).removeprefix("image 0: ")


def _predict_chunk(model: Model, chunk: list[tuple[Entry, NDArray[np.uint8]]]) -> Iterator[_Answer]:
    if chunk:
        probs, _ = predict(model, np.concatenate([image for _, image in chunk]))
        yield from (_Answer(entry, row) for (entry, _), row in zip(chunk, probs, strict=True))


def _read(source: Path) -> Iterator[tuple[Entry, bytes | str]]:
    """Each picture with its bytes, or the reason why there are none."""
    if source.is_file() and source.suffix.lower() not in (".csv", ".zip"):
        try:
            yield Entry(path=source.name), source.read_bytes()
        except OSError as error:
            yield Entry(path=source.name), f"cannot be read ({error.strerror})"
        return
    with open_source(source) as opened:
        for entry in opened.entries():
            try:
                yield entry, entry.problem or opened.read(entry)
            except Refused as error:
                yield entry, str(error)


def _check_label(answer: _Answer, names: list[str]) -> _Answer:
    if answer.probs is None or (len(answer.entry.labels) == 1 and answer.entry.labels[0] in names):
        return answer
    given = " and ".join(answer.entry.labels)
    reason = f"the run does not know the class {given}" if given else "it has no label"
    return _Answer(answer.entry, None, reason)


def _describe(answer: _Answer, names: list[str]) -> dict[str, Any]:
    probs = [] if answer.probs is None else answer.probs.tolist()
    best = int(np.argmax(probs))
    return {
        "path": answer.entry.path,
        "predicted": names[best],
        "confidence": probs[best],
        "probabilities": dict(zip(names, probs, strict=True)),
    }


def _list_refused(answers: list[_Answer]) -> list[dict[str, str]]:
    return [{"path": answer.entry.path, "reason": answer.problem} for answer in answers if answer.probs is None]
