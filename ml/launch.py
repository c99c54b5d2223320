"""One training in one process or in several: the same call, the same files, the same reports.

Several are started by torchrun on this machine and train with DistributedDataParallel: each has its share of every
batch, on a GPU of its own where there are as many (nccl), else on the CPU (gloo). What they need is written to a folder
and mapped into memory, so that ten processes read the images once.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed

from ml.batches import Integers
from ml.configs import TrainConfig, read_config, write_config
from ml.predict import Images
from ml.teams import join_team
from ml.train import Diverged, EpochReport, Stopped, TrainResult, train

ORDER = "order.json"
RESULT = "result.json"
PARENT = "WORKBENCH_TRAINING_PARENT"  # in the environment: the process that waits for the team
PATIENCE_S = 30.0  # for processes to end before they are killed
REFUSALS: dict[str, type[Exception]] = {"ValueError": ValueError, "Diverged": Diverged}


def launch(
    images: Images,
    labels: Integers,
    *,
    config: TrainConfig,
    folder: Path,
    on_epoch: Callable[[EpochReport], None] | None = None,
    on_batch: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    device: str | torch.device | None = None,
    initial: Path | None = None,
    **data: Any,
) -> TrainResult:
    """`ml.train.train` in as many processes as `config.processes` says. Arguments and result are those of `train`.

    A folder is gone on with by as many processes. Two on a CPU give equal bits in equal runs; another number gives
    other ones, as each draws its own variants. What a callback raises ends them all; so does the end of this process.
    Raises ValueError, Stopped and Diverged as `train` does, RuntimeError if a process died of something else.
    Cost: some seconds to start, and once the images on disk.
    """
    if config.processes == 1:
        return train(
            images, labels, config=config, folder=folder, device=device, initial=initial,
            on_epoch=on_epoch, on_batch=on_batch, should_stop=should_stop, **data,
        )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".team-", dir=folder) as place:
        arrays = {"images": images, "labels": labels, **data}
        order = {
            "config": write_config(config),
            "folder": str(folder),
            "device": None if device is None else str(device),
        }
        _hand_over(Path(place), arrays, {**order, "initial": None if initial is None else str(initial)})
        with _start(Path(place), config.processes) as process:
            _follow(process, on_epoch, on_batch, should_stop)
        return _conclude(Path(place), process.returncode)


def _name(value: Any) -> str | None:
    return None if value is None else str(value)


# --- the process that asks --------------------------------------------------------------------------------------


def _hand_over(place: Path, arrays: dict[str, Any], order: dict[str, Any]) -> None:
    """Arrays as files, plain values in the order."""
    plain = {}
    for name, value in arrays.items():
        if isinstance(value, Tensor | np.ndarray):
            np.save(place / f"{name}.npy", value.cpu().numpy() if isinstance(value, Tensor) else value)
        else:
            plain[name] = value
    (place / ORDER).write_text(json.dumps({**order, "plain": plain}), encoding="utf-8")


@contextmanager
def _start(place: Path, count: int) -> Iterator[subprocess.Popen[str]]:
    """The team, until the block ends: then it has ended, or is made to."""
    root = str(Path(__file__).resolve().parent.parent)
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    with (place / "errors.txt").open("w") as errors:
        process = subprocess.Popen(  # noqa: S603 - this Python, with a module of ours
            [*command, "-m", "ml.launch", str(place)],
            env={**os.environ, "PYTHONPATH": path, PARENT: str(os.getpid())},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        try:
            yield process
            process.wait()
        finally:
            _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    """torchrun passes the signal on to its processes."""
    process.terminate()
    try:
        process.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _follow(
    process: subprocess.Popen[str],
    on_epoch: Callable[[EpochReport], None] | None,
    on_batch: Callable[[int, int], None] | None,
    should_stop: Callable[[], bool] | None,
) -> None:
    """Pass on what the first process reports, a line of JSON each, until it says no more."""
    for line in process.stdout or ():
        if should_stop is not None and should_stop():
            raise Stopped
        said = json.loads(line) if line.startswith("{") else {}
        if "epoch" in said and on_epoch is not None:
            on_epoch(EpochReport(**said["epoch"]))
        if "batch" in said and on_batch is not None:
            on_batch(*said["batch"])


def _conclude(place: Path, status: int) -> TrainResult:
    try:
        found = json.loads((place / RESULT).read_text(encoding="utf-8"))
    except FileNotFoundError:
        last = (place / "errors.txt").read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:]
        raise RuntimeError(f"a process of the training ended with status {status}: {' / '.join(last)}") from None
    if "refused" in found:
        raise REFUSALS[found["refused"]](found["sentence"])
    history = tuple(EpochReport(**report) for report in found.pop("history"))
    return TrainResult(checkpoint=Path(found.pop("checkpoint")), history=history, **found)


# --- the processes of the team ----------------------------------------------------------------------------------


def run_member(place: Path) -> None:
    """What torchrun starts: train as one of a team on what was handed over."""
    order = json.loads((place / ORDER).read_text(encoding="utf-8"))
    device = _pick_own_device(order["device"])
    team = join_team(device)
    arrays = {path.stem: np.load(path, mmap_mode="c") for path in sorted(place.glob("*.npy"))}
    parent = int(os.environ[PARENT])
    try:
        result = train(
            **arrays,
            **order["plain"],
            config=read_config(order["config"]),
            folder=Path(order["folder"]),
            initial=None if order["initial"] is None else Path(order["initial"]),
            device=device,
            team=team,
            should_stop=lambda: not _is_alive(parent),
            on_epoch=(lambda report: _say(epoch=asdict(report))) if team.is_first else None,
            on_batch=(lambda done, total: _say(batch=[done, total])) if team.is_first else None,
        )
        found = {**asdict(result), "checkpoint": str(result.checkpoint)}
    except tuple(REFUSALS.values()) as error:
        found = {"refused": type(error).__name__, "sentence": str(error)}
    if team.is_first:
        _write(place / RESULT, found)
    distributed.destroy_process_group()


def _pick_own_device(asked: str | None) -> torch.device:
    """A GPU of its own where there is one for each process, else what was asked for, else the CPU."""
    rank, size = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
    if asked in (None, "cuda") and torch.cuda.device_count() >= size:
        device = torch.device("cuda", rank)
        torch.cuda.set_device(device)
        return device
    return torch.device(asked or "cpu")


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _say(**words: Any) -> None:
    print(json.dumps(words), flush=True)


def _write(path: Path, contents: dict[str, Any]) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(contents), encoding="utf-8")
    temporary.replace(path)


if __name__ == "__main__":
    run_member(Path(sys.argv[1]))
