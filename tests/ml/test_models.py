import subprocess
import sys
import threading

import pytest
import torch
from torch import nn

from ml.models import list_architectures, make_model
from ml.models.classifier import count_parameters
from ml.vision import load_torchvision


def test_importing_ml_imports_no_torch():
    code = "import ml, ml.active, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_torchvision_loads_again_and_from_threads():
    modules = []
    threads = [threading.Thread(target=lambda: modules.append(load_torchvision())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert modules == [load_torchvision()] * 4


def test_list_holds_ours_first_and_only_classifiers():
    names = list_architectures()
    assert names[0] == "compact"
    assert {"resnet18", "vit_b_16", "squeezenet1_1"} <= set(names)
    assert not [name for name in names if "rcnn" in name or "deeplab" in name or "r3d" in name]


def test_compact_has_about_a_million_parameters():
    model = make_model("compact", channels=1, class_count=7, image_size=48)
    assert 0.8e6 < count_parameters(model) < 1.3e6


@pytest.mark.parametrize("image_size", [4, 8, 13, 48, 64, 224])
@pytest.mark.parametrize("channels", [1, 3])
def test_compact_takes_any_size(image_size, channels):
    model = make_model("compact", channels=channels, class_count=300, image_size=image_size)
    images = torch.zeros(2, channels, image_size, image_size)
    logits, features = model.forward_both(images)
    assert logits.shape == (2, 300)
    assert features.shape == (2, model.backbone.feature_count)
    assert torch.equal(model.eval()(images), model.forward_both(images)[0])


@pytest.mark.parametrize(
    ("arch", "image_size"),
    [("resnet18", 48), ("squeezenet1_1", 48), ("vit_b_32", 64), ("googlenet", 48), ("densenet121", 32)],
)
def test_torchvision_head_is_cut_off_cleanly(arch, image_size):
    model = make_model(arch, channels=1, class_count=5, image_size=image_size).eval()
    with torch.no_grad():
        logits, features = model.forward_both(torch.rand(2, 1, image_size, image_size))
    assert logits.shape == (2, 5)
    assert features.shape == (2, model.head.in_features)
    assert isinstance(model.head, nn.Linear)


def test_resnet_features_equal_those_of_the_whole_net():
    torch.manual_seed(0)
    model = make_model("resnet18", channels=3, class_count=1000, image_size=48).eval()
    torch.manual_seed(0)
    whole = load_torchvision().models.resnet18(weights=None).eval()
    whole.fc = model.head
    images = torch.rand(2, 3, 48, 48)
    with torch.no_grad():
        torch.testing.assert_close(model(images), whole(images))


@pytest.mark.parametrize(
    ("arch", "channels", "image_size", "sentence"),
    [
        ("nothing", 1, 48, "no architecture is called 'nothing'"),
        ("vit_b_16", 1, 300, "vit_b_16 cannot take 300x300 images, set another image_size"),
        ("resnet18", 4, 48, "resnet18 takes images with 1 or 3 channels, not 4"),
    ],
)
def test_make_model_refuses_in_one_sentence(arch, channels, image_size, sentence):
    with pytest.raises(ValueError, match=sentence) as refusal:
        make_model(arch, channels=channels, class_count=2, image_size=image_size)
    assert "\n" not in str(refusal.value)


def test_same_seed_gives_the_same_weights():
    models = []
    for _ in range(2):
        torch.manual_seed(1)
        models.append(make_model("compact", channels=1, class_count=3, image_size=16))
    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(one, other)
