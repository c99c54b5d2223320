import numpy as np
import pytest
import torch

from ml.configs import SCHEDULES, TrainConfig
from ml.schedules import count_drops, learning_rate_at


def rates_of(total: int = 100, **settings) -> list[float]:
    config = TrainConfig(**{"learning_rate": 0.5, "warmup": 0.0, "epochs": 10, **settings})
    return [learning_rate_at(config, step, total) for step in range(total)]


def test_learning_rate_is_one_cycle():
    config = TrainConfig(learning_rate=0.5, warmup=0.25)
    rates = [learning_rate_at(config, step, 100) for step in range(100)]
    assert max(rates) == rates[25] == 0.5
    assert rates[:26] == sorted(rates[:26])
    assert rates[25:] == sorted(rates[25:], reverse=True)
    assert rates[0] == pytest.approx(0.02)
    assert rates[-1] == pytest.approx(0.5e-4)


def test_learning_rate_of_a_single_step_is_finite():
    assert 0 < learning_rate_at(TrainConfig(warmup=0.0), 0, 1) <= TrainConfig().learning_rate


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_schedule_warms_up_alike_and_reaches_the_peak(schedule):
    rates = rates_of(schedule=schedule, warmup=0.2, decay_epochs=5)
    assert rates[:20] == rates_of(warmup=0.2)[:20]
    assert max(rates) == pytest.approx(0.5)


def test_constant_stays_at_the_peak():
    assert set(rates_of(schedule="constant")) == {0.5}


def test_step_drops_after_every_so_many_epochs():
    rates = rates_of(schedule="step", decay=0.1, decay_epochs=4)
    assert rates == pytest.approx([0.5] * 40 + [0.05] * 40 + [0.005] * 20)


def test_plateau_drops_once_for_every_drop_of_the_losses():
    config = TrainConfig(learning_rate=0.5, warmup=0.0, schedule="plateau", decay=0.1, decay_epochs=2)
    assert learning_rate_at(config, 99, 100) == 0.5
    assert learning_rate_at(config, 99, 100, losses=[1.0, 1.0, 1.0, 1.0, 1.0]) == pytest.approx(0.005)


@pytest.mark.parametrize("patience", [1, 2, 3])
def test_plateau_equals_torchs(patience):
    losses = np.random.default_rng(0).choice([0.5, 0.7, 0.7, 0.9, 1.1], 60).tolist()
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.5, patience=patience - 1, threshold=0, eps=0
    )
    for count, loss in enumerate(losses, 1):
        theirs.step(loss)
        assert 0.5 ** count_drops(losses[:count], patience=patience) == optimizer.param_groups[0]["lr"]


def test_count_drops_takes_no_losses_and_refuses_no_patience():
    assert count_drops([], patience=1) == 0
    with pytest.raises(ValueError, match="patience must be 1 or more, not 0"):
        count_drops([1.0], patience=0)
