"""Where a model looks, and whether that is true."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ml.configs import make_config
from ml.ensembles import write_ensemble
from ml.explain import STEPS, choose_layer, list_layers, map_saliency, measure_faithfulness
from ml.models import make_model
from ml.models.classifier import Backbone, Classifier
from ml.predict import Model, load_model, predict
from ml.train import train
from tests.ml.drawing import tiny_config

SIDE = 32
PATCH = 12


def draw_patches(count: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Noise with a striped patch somewhere, whose direction is the class. Returns images, labels, corners (N, 2)."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    corners = rng.integers(0, SIDE - PATCH + 1, (count, 2))
    images = rng.integers(60, 130, (count, 1, SIDE, SIDE))
    stripes = np.where(np.arange(PATCH) // 2 % 2, 240, 10)
    for image, label, (row, column) in zip(images, labels, corners, strict=True):
        texture = np.broadcast_to(stripes[:, None] if label else stripes[None], (PATCH, PATCH))
        image[0, row : row + PATCH, column : column + PATCH] = texture
    return images.astype(np.uint8), labels.astype(np.int64), corners


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    images, labels, _ = draw_patches(240)
    result = train(
        images, labels, train_indices=np.arange(240), validation_indices=np.empty(0, np.int64), class_count=2,
        config=tiny_config(image_size=SIDE, epochs=6, min_steps=60), folder=tmp_path_factory.mktemp("run"),
    )  # fmt: skip
    return load_model(result.checkpoint, device="cpu")


def make_untrained(arch: str, *, size: int = 32, channels: int = 1, **overrides: object) -> Model:
    torch.manual_seed(0)
    net = make_model(arch, channels=channels, class_count=3, image_size=size).eval()
    config = make_config("quick", arch=arch, image_size=size, channels=channels, **overrides)
    mean, std = torch.full((1, channels, 1, 1), 100.0), torch.full((1, channels, 1, 1), 50.0)
    return Model(net, config, 3, mean, std, torch.device("cpu"), "float32")


def map_by_hand(model: Model, images: np.ndarray, layer: str) -> np.ndarray:
    """Grad-CAM from its definition: activations weighed by their mean gradients, what speaks for the class kept."""
    held: dict[str, torch.Tensor] = {}
    handle = model.net.get_submodule(layer).register_forward_hook(lambda _m, _i, out: held.update(out=out))
    logits = model.net((torch.from_numpy(images).float() - model.mean) / model.std)
    handle.remove()
    (slopes,) = torch.autograd.grad(logits.max(1).values.sum(), held["out"])
    maps = (slopes.mean((2, 3), keepdim=True) * held["out"]).sum(1).relu().detach()
    return (maps / maps.amax((1, 2), keepdim=True).clamp(min=1e-12)).numpy()


@pytest.mark.parametrize("arch", ["compact", "mnasnet0_5"])
def test_maps_are_grad_cam(arch: str) -> None:
    model = make_untrained(arch, size=64)
    images = np.random.default_rng(1).integers(0, 255, (3, 1, 64, 64), dtype=np.uint8)

    for layer in list_layers(model):
        maps, columns = map_saliency(model, images, layer=layer)
        np.testing.assert_allclose(maps, map_by_hand(model, images, layer), atol=1e-3)

    np.testing.assert_array_equal(columns, predict(model, images)[0].argmax(1))


@pytest.mark.parametrize("arch", ["densenet121", "squeezenet1_1", "swin_t", "shufflenet_v2_x0_5"])
def test_other_architectures_of_three_channels_are_mapped_too(arch: str) -> None:
    model = make_untrained(arch, size=48, channels=3)
    images = np.random.default_rng(1).integers(0, 255, (2, 3, 48, 48), dtype=np.uint8)

    maps, _ = map_saliency(model, images, layer=list_layers(model)[0])

    assert np.isfinite(maps).all()
    assert 0 <= maps.min() <= maps.max() <= 1
    assert maps.shape == (2, maps.shape[1], maps.shape[1])


def test_layers_end_stages_coarsest_first() -> None:
    assert list_layers(make_untrained("compact", size=48)) == ["backbone.net.9", "backbone.net.7", "backbone.net.4"]
    assert list_layers(make_untrained("alexnet", size=64))[0] == "backbone.net.features.11"  # no pooling to 6x6


def test_a_net_without_a_grid_is_refused_in_a_sentence() -> None:
    flat = replace(make_untrained("compact", size=8), net=Classifier(Backbone(nn.Flatten(), 64), 3))

    with pytest.raises(ValueError, match="compact keeps no grid of places of 8x8 images: nothing can be mapped"):
        list_layers(flat)


def test_the_map_of_an_ensemble_is_the_mean_of_its_members(tmp_path: Path) -> None:
    images, labels, _ = draw_patches(24)
    checkpoints = [
        train(
            images, labels, train_indices=np.arange(24), validation_indices=np.empty(0, np.int64), class_count=2,
            config=tiny_config(image_size=SIDE, epochs=1, seed=seed, precision="float32"), folder=tmp_path / str(seed),
        ).checkpoint
        for seed in (1, 2)
    ]  # fmt: skip
    (tmp_path / "both").mkdir()
    model = load_model(write_ensemble(checkpoints, tmp_path / "both"), device="cpu")

    layers = list_layers(model)

    assert layers[0] == "members.0.model.backbone.net.9 + members.1.model.backbone.net.9"
    both, one, other = (map_saliency(model, images, layer=name)[0] for name in (layers[0], *layers[0].split(" + ")))
    mean = (one + other) / 2
    np.testing.assert_allclose(both, mean / np.maximum(mean.max((1, 2), keepdims=True), 1e-12), atol=0.05)


def test_maps_do_not_depend_on_the_batch_and_take_no_image(model: Model) -> None:
    images, _, _ = draw_patches(7, seed=1)
    layer = list_layers(model)[0]
    expected, columns = map_saliency(model, images, layer=layer)

    maps, same = map_saliency(model, images, layer=layer, batch_size=2)

    np.testing.assert_allclose(maps, expected, atol=0.02)
    np.testing.assert_array_equal(columns, same)
    assert [len(array) for array in map_saliency(model, images[:0], layer=layer)] == [0, 0]


def test_hidden_regions_do_not_show_in_the_maps() -> None:
    masked = make_untrained("compact", mask="lower")
    images = np.random.default_rng(1).integers(0, 255, (3, 1, 32, 32), dtype=np.uint8)
    other = images.copy()
    other[:, :, 16:] = 7

    first, second = (map_saliency(masked, each, layer=list_layers(masked)[0])[0] for each in (images, other))

    np.testing.assert_array_equal(first, second)


def test_the_chosen_map_marks_the_patch_that_decides(model: Model) -> None:
    images, labels, corners = draw_patches(60, seed=2)
    assert (predict(model, images)[0].argmax(1) == labels).mean() > 0.9
    layer = choose_layer(model, images[:20], rng=np.random.default_rng(0))

    maps, _ = map_saliency(model, images, layer=layer)

    side = maps.shape[1]
    peaks = np.stack(np.unravel_index(maps.reshape(60, -1).argmax(1), (side, side)), 1)
    places = (peaks + 0.5) * SIDE / side
    reach = SIDE / side / 2
    inside = ((places >= corners - reach) & (places <= corners + PATCH + reach)).all(1)
    assert inside.mean() > 0.7


def test_maps_that_mark_what_decides_pass_and_maps_of_others_do_not(model: Model) -> None:
    images, _, _ = draw_patches(40, seed=3)
    maps, columns = map_saliency(model, images, layer=list_layers(model)[1])

    found = measure_faithfulness(model, images, maps, columns, rng=np.random.default_rng(1))

    lead = found.own - found.random
    assert lead.mean() > 3 * lead.std() / np.sqrt(40)
    assert found.own.mean() > found.other.mean() + 0.05
    nonsense = measure_faithfulness(model, images, 1 - maps, columns, rng=np.random.default_rng(1))
    assert nonsense.own.mean() < nonsense.random.mean()


def test_curves_begin_with_the_image_and_end_without_it(model: Model) -> None:
    images, _, _ = draw_patches(12, seed=4)
    maps, columns = map_saliency(model, images, layer=list_layers(model)[0])

    found = measure_faithfulness(model, images, maps, columns, rng=np.random.default_rng(0))

    whole = predict(model, images)[0].max(1).mean()
    for kind in ("own", "random", "other"):
        assert found.deletion[kind].shape == found.insertion[kind].shape == (STEPS + 1,)
        assert found.deletion[kind][0] == found.insertion[kind][-1] == pytest.approx(whole, abs=0.02)
        assert found.deletion[kind][-1] == found.insertion[kind][0]


def test_the_test_is_the_same_twice_and_takes_one_image(model: Model) -> None:
    images, _, _ = draw_patches(1, seed=5)
    maps, columns = map_saliency(model, images, layer=list_layers(model)[0])

    first, second = (measure_faithfulness(model, images, maps, columns, rng=np.random.default_rng(3)) for _ in range(2))

    np.testing.assert_array_equal(first.random, second.random)
    np.testing.assert_allclose(first.own, first.other, atol=1e-3)  # there is no other image to take a map of
