import numpy as np
import pytest
import torch
from torch.nn import functional

from ml.predict import load_model, predict
from ml.train import train
from tests.ml.drawing import draw_bars, tiny_config


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    images, labels = draw_bars(40)
    result = train(
        images,
        labels,
        train_indices=np.arange(40),
        validation_indices=np.empty(0, np.int64),
        class_count=2,
        config=tiny_config(precision="float32"),
        folder=tmp_path_factory.mktemp("run"),
    )
    return result.checkpoint


def test_predict_equals_a_plain_forward_pass(checkpoint):
    images, _ = draw_bars(10, seed=1)
    model = load_model(checkpoint, device="cpu")
    probs, features = predict(model, images)
    inputs = (torch.from_numpy(images).float() - model.mean) / model.std
    with torch.no_grad():
        expected_features = model.net.backbone(inputs)
        logits = functional.linear(expected_features, model.net.head.weight, model.net.head.bias)
    np.testing.assert_allclose(features, expected_features.numpy(), atol=1e-4)
    np.testing.assert_allclose(probs, logits.softmax(1).numpy(), atol=1e-5)
    assert probs.dtype == features.dtype == np.float32
    np.testing.assert_allclose(probs.sum(1), 1, atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 3, 10, 100])
def test_predict_does_not_depend_on_the_batch_size(checkpoint, batch_size):
    images, _ = draw_bars(10, seed=1)
    model = load_model(checkpoint)
    expected, _ = predict(model, images)
    probs, _ = predict(model, images, batch_size=batch_size)
    np.testing.assert_allclose(probs, expected, atol=1e-5)


def test_predict_takes_no_image_and_one(checkpoint):
    model = load_model(checkpoint)
    images, _ = draw_bars(1)
    assert [array.shape for array in predict(model, images[:0])] == [(0, 2), (0, model.feature_count)]
    assert [array.shape for array in predict(model, images)] == [(1, 2), (1, model.feature_count)]


def test_predict_tells_its_progress(checkpoint):
    calls = []
    predict(load_model(checkpoint), draw_bars(10)[0], batch_size=4, on_batch=lambda *call: calls.append(call))
    assert calls[-1] == (10, 10)


def test_predict_refuses_other_shapes(checkpoint):
    with pytest.raises(ValueError, match="images must be uint8"):
        predict(load_model(checkpoint), draw_bars(4, side=13)[0])


def test_load_model_leaves_the_random_state_alone(checkpoint):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    load_model(checkpoint)
    assert torch.equal(torch.rand(2), expected)


def test_load_model_refuses_what_is_missing_or_would_run_code(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_model(tmp_path / "checkpoint.pt")
    torch.save({"format": 1, "config": print}, tmp_path / "checkpoint.pt")
    with pytest.raises(ValueError, match="damaged or no checkpoint"):
        load_model(tmp_path / "checkpoint.pt")
    torch.save({"format": 999}, tmp_path / "checkpoint.pt")
    with pytest.raises(ValueError, match="this version"):
        load_model(tmp_path / "checkpoint.pt")
