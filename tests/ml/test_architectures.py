"""What is told of the architectures is what their networks are."""

from pathlib import Path

import pytest
import torch
from torch import nn

from ml.configs import make_config
from ml.models import OWN, installed, list_architectures, make_model
from ml.models.classifier import Classifier, count_parameters, count_with_statistics
from ml.models.published import make_published
from ml.predict import load_model, predict
from ml.train import train
from tests.installed import POINTS, installed_nets
from workbench.services import architectures
from workbench.services.architectures import ARCHITECTURES, REFERENCE


def build_empty(arch: str, *, channels: int, image_size: int, class_count: int = 7) -> Classifier:
    """The model without memory for its weights: counted at once, however large."""
    with torch.device("meta"):
        backbone = OWN[arch](channels, image_size) if arch in OWN else make_published(arch, channels, image_size)
        return Classifier(backbone, class_count)


def test_the_web_knows_every_architecture() -> None:
    assert list(ARCHITECTURES) == list_architectures()
    assert architectures.GROUP == installed.GROUP


def test_every_architecture_has_a_source_a_size_and_a_count() -> None:
    for each in ARCHITECTURES.values():
        assert (each.source != "", each.image_size >= 48, each.channels in (1, 3), each.parameters > 300_000) == (
            True, True, True, True,
        ), each.name  # fmt: skip


SOME = (
    *OWN, "alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "efficientnet_v2_s", "googlenet",
    "inception_v3", "mnasnet0_5", "mobilenet_v3_small", "resnet18", "resnet50", "shufflenet_v2_x0_5",
    "squeezenet1_1", "swin_t", "vgg11", "vgg19_bn", "vit_b_32",
)  # fmt: skip


@pytest.mark.parametrize("arch", SOME)
def test_the_networks_have_the_parameters_that_are_told(arch: str) -> None:
    told = ARCHITECTURES[arch]
    model = build_empty(arch, channels=told.channels, image_size=told.image_size)
    assert count_parameters(model) == told.parameters


def test_regnets_have_the_parameters_that_are_told() -> None:
    model = make_model("regnet_y_400mf", channels=3, class_count=7, image_size=32)
    assert count_parameters(model) == ARCHITECTURES["regnet_y_400mf"].parameters


@pytest.mark.parametrize(
    ("arch", "class_count", "published"),
    [
        ("three_conv", 7, 11_169_287),
        ("cnn1", 7, 6_855_303),
        ("cnn2", 7, 571_697),
        ("cnn3", 7, 1_184_225),
        ("cnn4", 7, 853_121),
        ("vgg10", 7, 63_863_463),
        ("mini_xception", 1, 2_782_649),
        ("efficientnet_v2_b0", 1000, 7_200_312),
        ("efficientnet_v2_b0_dense", 7, 6_084_695),
    ],
)
def test_the_networks_of_the_reference_projects_have_the_published_count(
    arch: str, class_count: int, published: int
) -> None:
    told = ARCHITECTURES[arch]
    model = build_empty(arch, channels=told.channels, image_size=told.image_size, class_count=class_count)
    assert count_with_statistics(model) == published == told.published


def test_heads_alone_part_the_published_counts_from_those_with_seven_classes() -> None:
    """All that is told of torchvision's fits: 993 outputs fewer, each with as many weights as there are features."""
    for each in ARCHITECTURES.values():
        if each.counted == "1,000 classes" and each.name != "maxvit_t":  # whose head has no biases
            assert (each.published - each.parameters) % 993 == 0, each.name


def test_each_reference_network_is_compared() -> None:
    assert {each.name for each in ARCHITECTURES.values() if each.family == REFERENCE} == set(OWN) - {"compact"}


@pytest.mark.parametrize("arch", ["alexnet", "vgg11", "vgg16", "vgg19_bn", "resnet18", "resnet50", "densenet121"])
def test_torchvision_s_networks_have_the_published_count(arch: str) -> None:
    told = ARCHITECTURES[arch]
    model = build_empty(arch, channels=3, image_size=told.image_size, class_count=1000)
    assert count_parameters(model) == told.published


@pytest.mark.parametrize("arch", ["three_conv", "cnn1", "cnn2", "cnn3", "cnn4", "mini_xception"])
@pytest.mark.parametrize(("channels", "image_size"), [(1, 16), (1, 48), (3, 52)])
def test_the_reference_networks_take_any_size_and_both_kinds_of_images(
    arch: str, channels: int, image_size: int
) -> None:
    model = make_model(arch, channels=channels, class_count=3, image_size=image_size)
    logits, features = model.forward_both(torch.rand(2, channels, image_size, image_size))
    logits.sum().backward()
    assert logits.shape == (2, 3)
    assert features.shape == (2, model.backbone.feature_count)
    assert {each.grad is not None for each in model.parameters()} == {True}


@pytest.mark.parametrize("arch", ["vgg10", "efficientnet_v2_b0", "efficientnet_v2_b0_dense"])
def test_the_large_reference_networks_run(arch: str) -> None:
    model = make_model(arch, channels=1, class_count=2, image_size=32)
    assert model(torch.rand(2, 1, 32, 32)).shape == (2, 2)


@pytest.mark.parametrize(
    ("arch", "image_size", "seen"),
    [("cnn2", 16, 48), ("cnn2", 48, 0), ("alexnet", 48, 64), ("vit_b_32", 50, 64)],
)
def test_images_that_are_too_small_for_a_network_are_enlarged(arch: str, image_size: int, seen: int) -> None:
    model = make_model(arch, channels=1, class_count=2, image_size=image_size)
    assert model.backbone.enlarge_to == seen
    assert model.eval()(torch.rand(1, 1, image_size, image_size)).shape == (1, 2)


def test_enlarging_is_bilinear_and_comes_before_anything_else() -> None:
    model = make_model("cnn2", channels=1, class_count=2, image_size=24).eval()
    image = torch.rand(1, 1, 24, 24)
    larger = nn.functional.interpolate(image, size=48, mode="bilinear")
    torch.testing.assert_close(model.backbone(image), model.backbone.net(larger))


# --- head and dropout -------------------------------------------------------------------------------------------


def test_a_hidden_layer_stands_between_features_and_logits() -> None:
    model = make_model("compact", channels=1, class_count=3, image_size=16, hidden=10)
    shapes = [tuple(each.shape) for each in model.head.parameters()]
    assert shapes == [(10, 288), (10,), (3, 10), (3,)]
    assert model(torch.rand(2, 1, 16, 16)).shape == (2, 3)


def test_dropout_is_set_everywhere() -> None:
    model = make_model("cnn4", channels=1, class_count=3, image_size=48, dropout=0.05)
    found = [layer.p for layer in model.modules() if isinstance(layer, nn.Dropout)]
    assert found == [0.05] * 6
    untouched = make_model("cnn4", channels=1, class_count=3, image_size=48)
    assert [layer.p for layer in untouched.modules() if isinstance(layer, nn.Dropout)] == [0.2, 0.2, 0.3, 0.4, 0.4, 0.5]


@pytest.mark.parametrize("arch", ["compact", "resnet18"])
def test_dropout_does_something_where_the_network_has_none(arch: str) -> None:
    torch.manual_seed(0)
    model = make_model(arch, channels=1, class_count=3, image_size=32, dropout=0.9)
    model.backbone.eval()
    image = torch.rand(1, 1, 32, 32)
    first, second = model(image), model(image)
    assert not torch.equal(first, second)
    model.eval()
    assert torch.equal(model(image), model(image))


# --- widths -----------------------------------------------------------------------------------------------------


def test_widths_of_a_stack_are_set_layer_by_layer() -> None:
    model = make_model("three_conv", channels=1, class_count=3, image_size=32, widths=(64, 0, 32, 96))
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert [layer.weight.shape[0] for layer in layers] == [64, 64, 32, 96, 3]
    assert make_model("cnn1", channels=1, class_count=3, image_size=32, widths=()).backbone.feature_count == 528


@pytest.mark.parametrize(
    ("arch", "widths", "sentence"),
    [
        ("compact", (64,), "compact has no widths to set; three_conv, cnn1, cnn2, cnn3, cnn4, vgg10 have"),
        ("three_conv", (8, 8, 8, 8, 8), "it has 4 layers, and widths for 5"),
    ],
)
def test_widths_that_an_architecture_does_not_have_are_refused(arch: str, widths: tuple[int], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        make_model(arch, channels=1, class_count=3, image_size=32, widths=widths)


def test_a_checkpoint_brings_back_widths_hidden_layer_and_dropout(tmp_path: Path) -> None:
    config = make_config(
        "quick", arch="three_conv", image_size=16, epochs=1, widths="4,4,4,8", hidden=5, dropout=0.5, threads=1,
        precision="float32",
    )  # fmt: skip
    images, labels = torch.randint(0, 255, (8, 1, 16, 16), dtype=torch.uint8), torch.arange(8) % 2
    rows = torch.arange(8)
    train(
        images, labels, train_indices=rows, validation_indices=rows[:0], class_count=2, config=config, folder=tmp_path
    )
    model = load_model(tmp_path / "checkpoint.pt")
    probs, features = predict(model, images)
    assert (probs.shape, features.shape, model.feature_count) == ((8, 2), (8, 8), 8)
    assert [tuple(each.shape) for each in model.net.head.parameters()] == [(5, 8), (5,), (2, 5), (2,)]
    assert isinstance(model.net.dropout, nn.Dropout)


# --- other packages ---------------------------------------------------------------------------------------------


def test_installed_packages_bring_theirs(tmp_path: Path) -> None:
    before = list_architectures()
    with installed_nets(tmp_path):
        assert list_architectures() == before + [name for name in POINTS if name != "compact"]
        told = [(each.name, each.source) for each in architectures.list_installed()]
        assert told == [(name, "lab-nets 1.2") for name in POINTS if name != "compact"]
        assert architectures.is_known("lab_tiny")
        model = make_model("lab_tiny", channels=3, class_count=4, image_size=20)
        logits, features = model.forward_both(torch.rand(2, 3, 20, 20))
        assert (logits.shape, features.shape) == ((2, 4), (2, 6))
        wide = make_model("lab_wide", channels=1, class_count=4, image_size=20)
        assert (wide.backbone.enlarge_to, wide.training) == (48, True)
        assert make_model("compact", channels=1, class_count=2, image_size=16).backbone.feature_count == 288
    assert not architectures.is_known("lab_tiny")


@pytest.mark.parametrize(
    ("arch", "sentence"),
    [
        ("lab_broken", "lab_nets:missing cannot be loaded: AttributeError"),
        ("lab_grid", r"lab_nets:make_grid must give features \(B, D\) of a batch, not \(1, 6, 14, 14\)"),
        ("lab_nothing", "lab_nets:make_nothing gave a str, not a torch.nn.Module"),
    ],
)
def test_what_is_no_network_is_refused_in_one_sentence(tmp_path: Path, arch: str, sentence: str) -> None:
    with installed_nets(tmp_path), pytest.raises(ValueError, match=sentence) as refusal:
        make_model(arch, channels=1, class_count=2, image_size=16)
    assert "\n" not in str(refusal.value)


# --- the table of the documents ---------------------------------------------------------------------------------


def test_the_document_s_table_is_the_registry_s() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "architectures.md"
    lines = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    assert lines == [describe(each) for family in architectures.list_families().values() for each in family]


def describe(each: architectures.Architecture) -> str:
    size = f"{each.image_size} px, {'grey' if each.channels == 1 else 'colour'}" if each.image_size else "that run's"
    published = f"{each.published:,}" if each.published else ""
    counted = f" ({each.counted})" if each.counted else ""
    parameters = f"{each.parameters:,}" if each.parameters else ""
    return f"| `{each.name}` | {each.source} | {size} | {parameters} | {published}{counted} |"
