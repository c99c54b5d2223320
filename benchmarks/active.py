"""Replay of active learning on FER2013: each way to choose asks the votes for 1,000 labels a round, 1,000 to 7,000.

    python -m benchmarks.active TREE VOTES OUT [--seeds 0,1,2] [--strategies random,margin]

TREE is the unpacked image folder with train/ and validation/, VOTES the file ferplus.csv. The oracle is the votes'
winner; images without a winner are left out. Nothing else of the votes, and no given label, is seen by what chooses.
Each round trains a small net on all labels so far, from the last round's weights, as the preset `retrain` does; its
probabilities and 64 compressed features choose the next thousand, as a run's stored predictions do. OUT keeps every
finished round: stopped, it goes on there. `--table` only prints what is in OUT.
"""

import argparse
import csv
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ml.active.strategies import STRATEGIES, Pool, pick
from ml.neighbours import compress

CLASSES = {"neutral": 0, "happiness": 1, "surprise": 2, "sadness": 3, "anger": 4, "disgust": 5, "fear": 6}
OTHERS = ("contempt", "unknown", "NF")
ROUND, MOST = 1000, 7000
BATCH, RATE, SMOOTHING = 128, 0.008, 0.1
FIRST_STEPS, STEPS = 250, 160  # of a round
GOAL = 4900

Weights = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Data:
    """images uint8 (N, 1, 48, 48), truth int64 (N,), and the rows to choose from and to test on."""

    images: Tensor
    truth: NDArray[np.int64]
    pool: NDArray[np.int64]
    test: NDArray[np.int64]


def read_data(tree: Path, votes: Path) -> Data:
    images, truth, is_test = [], [], []
    with votes.open(newline="") as file:
        for row in csv.DictReader(file):
            winner = find_winner(row)
            if row["split"] in ("train", "validation") and winner is not None:
                path = tree / row["split"] / row["label"] / row["file"]
                images.append(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))
                truth.append(winner)
                is_test.append(row["split"] == "validation")
    held = np.array(is_test)
    pixels = torch.from_numpy(np.stack(images)[:, None])
    return Data(pixels, np.array(truth, np.int64), np.flatnonzero(~held), np.flatnonzero(held))


def find_winner(row: dict[str, str]) -> int | None:
    counts = {name: int(row[name]) for name in (*CLASSES, *OTHERS)}
    best = max(counts.values())
    leaders = [name for name, count in counts.items() if count == best]
    return CLASSES.get(leaders[0]) if len(leaders) == 1 else None


# --- a small net, made for many short trainings ------------------------------------------------------------------


def _convolve(inputs: int, outputs: int, *, size: int = 3, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def make_net() -> nn.Sequential:
    """0.34 million parameters; all but the last module give the 192 features."""
    body = nn.Sequential(
        _convolve(1, 32, size=5, stride=2),
        nn.MaxPool2d(2),  # (B, 32, 12, 12)
        _convolve(32, 64),
        nn.MaxPool2d(2),
        _convolve(64, 128),
        nn.MaxPool2d(2),
        _convolve(128, 192),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    return nn.Sequential(body, nn.Linear(192, len(CLASSES)))


def fit(data: Data, rows: NDArray[np.int64], *, seed: int, before: Weights | None) -> nn.Sequential:
    """Trained on these rows, from the weights before if there are any; mirrored and shifted at random."""
    torch.manual_seed(seed)
    draw = torch.Generator().manual_seed(seed)
    net = make_net().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if before is not None:
        net.load_state_dict({name: torch.from_numpy(values) for name, values in before.items()})
    steps = FIRST_STEPS if before is None else STEPS
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps, pct_start=0.2)
    for batch in _batches(torch.from_numpy(rows), steps, draw):
        inputs = _vary(_normalise(data.images[batch]), draw)
        with torch.autocast("cpu", torch.bfloat16):
            logits = net(inputs)
        loss = functional.cross_entropy(logits.float(), torch.from_numpy(data.truth)[batch], label_smoothing=SMOOTHING)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return net.eval()


def _batches(rows: Tensor, steps: int, draw: torch.Generator) -> Iterator[Tensor]:
    order = rows[:0]
    for _ in range(steps):
        if len(order) < BATCH:
            order = torch.cat([order, rows[torch.randperm(len(rows), generator=draw)]])
        yield order[:BATCH]
        order = order[BATCH:]


def _normalise(pixels: Tensor) -> Tensor:
    return ((pixels.float() - 129) / 65).contiguous(memory_format=torch.channels_last)


def _vary(inputs: Tensor, draw: torch.Generator) -> Tensor:
    mirrored = torch.rand(len(inputs), 1, 1, 1, generator=draw) < 0.5
    inputs = torch.where(mirrored, inputs.flip(-1), inputs)
    down, right = torch.randint(0, 7, (2,), generator=draw).tolist()
    return functional.pad(inputs, (3, 3, 3, 3), mode="replicate")[:, :, down : down + 48, right : right + 48]


def look(net: nn.Sequential, data: Data, rows: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Probabilities and features, as the product stores them: float16, the features compressed."""
    probs, features = [], []
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        for part in torch.from_numpy(rows).split(512):
            found = net[0](_normalise(data.images[part]))
            features.append(found.float())
            probs.append(net[1](found).float().softmax(1))
    return torch.cat(probs).numpy().astype(np.float16), compress(torch.cat(features).numpy())


# --- the replay ---------------------------------------------------------------------------------------------------


def replay(data: Data, out: Path, *, strategy: str, seed: int) -> None:
    """Go on where the last finished round stopped. The first thousand are the seed's, the same for all strategies."""
    place = out / f"{strategy}-{seed}.npz"
    state = _read_state(place)
    if state is None:
        begin = out / f"start-{seed}.npz"
        state = _read_state(begin)
        if state is None:
            first = np.random.default_rng(seed).permutation(data.pool)[:ROUND]
            state = _measure(data, {"chosen": first, "said": np.empty((0, len(data.test)), np.int8)}, seed=seed, s=0.0)
            _write_state(begin, state)
    while len(state["chosen"]) < MOST:
        chosen, spent = _choose(data, state, strategy=strategy, seed=seed)
        state = _measure(data, {**state, "chosen": np.r_[state["chosen"], chosen]}, seed=seed, s=spent)
        _write_state(place, state)
        said = state["said"][-1] == data.truth[data.test]
        print(f"{strategy} seed {seed}: {len(state['chosen'])} labels, {said.mean():.3f}, {spent:.1f} s", flush=True)


def _choose(data: Data, state: dict[str, Any], *, strategy: str, seed: int) -> tuple[NDArray[np.int64], float]:
    labels = np.where(np.isin(data.pool, state["chosen"]), data.truth[data.pool], -1)
    pool = Pool(state["probs"].astype(np.float32), state["features"].astype(np.float32), labels)
    began_s = time.process_time()
    found = pick(pool, strategy=strategy, k=ROUND, seed=seed + len(state["chosen"]))
    return data.pool[found.rows], time.process_time() - began_s


def _measure(data: Data, state: dict[str, Any], *, seed: int, s: float) -> dict[str, Any]:
    before = {name[2:]: values for name, values in state.items() if name.startswith("w:")}
    net = fit(data, state["chosen"], seed=1000 * seed + len(state["chosen"]) // ROUND, before=before or None)
    probs, features = look(net, data, data.pool)
    said = look(net, data, data.test)[0].argmax(1).astype(np.int8)
    return {
        "chosen": state["chosen"],
        "probs": probs,
        "features": features,
        "said": np.r_[state["said"], said[None]],
        "seconds": np.r_[state.get("seconds", np.empty(0)), s],
        **{f"w:{name}": values.numpy() for name, values in net.state_dict().items()},
    }


def _read_state(place: Path) -> dict[str, Any] | None:
    if not place.exists():
        return None
    with np.load(place) as stored:
        return dict(stored)


def _write_state(place: Path, state: dict[str, Any]) -> None:
    unfinished = place.with_suffix(".part.npz")
    np.savez(unfinished, **state)
    unfinished.replace(place)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("tree", type=Path)
    parser.add_argument("votes", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--strategies", default=",".join(STRATEGIES))
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    wanted.out.mkdir(parents=True, exist_ok=True)
    data = read_data(wanted.tree, wanted.votes)
    print(json.dumps({"pool": len(data.pool), "test": len(data.test)}), flush=True)
    for seed in wanted.seeds.split(","):
        for strategy in wanted.strategies.split(","):
            replay(data, wanted.out, strategy=strategy, seed=int(seed))


if __name__ == "__main__":
    main()
