"""One process of a team, started by torchrun: trains undisturbed in one folder, stops and goes on in another."""

import sys
from pathlib import Path

import numpy as np
import torch
from torch import distributed

from ml.teams import join_team
from ml.train import Stopped, train
from tests.ml.drawing import draw_bars, tiny_config


def main(place: Path) -> None:
    team = join_team(torch.device("cpu"))
    images, labels = draw_bars(60)
    config = tiny_config(epochs=3, min_steps=0, processes=2, patience=3, schedule="plateau", sampling="balanced")
    data = {"train_indices": np.arange(50), "validation_indices": np.arange(50, 60), "class_count": 2}
    train(images, labels, config=config, folder=place / "undisturbed", team=team, device="cpu", **data)
    polls = iter(range(1000))
    try:  # in the second epoch of four steps, in all processes before the same step
        train(
            images, labels, config=config, folder=place / "stopped", team=team, device="cpu",
            should_stop=lambda: next(polls) == 6, **data,
        )  # fmt: skip
    except Stopped:
        distributed.barrier()
        train(images, labels, config=config, folder=place / "stopped", team=team, device="cpu", **data)
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
