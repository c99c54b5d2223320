"""The architectures that a training can be asked for, each with its source, input size and number of parameters.

Told here because the web never imports torch: tests/ml/test_architectures.py builds the networks and compares, and
holds the names equal to ml.models.list_architectures(). docs/architectures.md shows the table.
"""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import entry_points

GROUP = "workbench.architectures"  # the entry points by which other packages bring theirs
OURS, REFERENCE, PUBLISHED, INSTALLED, ON_RUNS = (
    "Ours",
    "Of the reference projects",
    "Of torchvision",
    "Of other installed packages",
    "On runs that are done",
)


@dataclass(frozen=True)
class Architecture:
    """What is known of one without building it; 0 where it depends on the images or on a run."""

    name: str
    family: str
    source: str
    image_size: int = 0  # pixels; what it was made for, any other is taken too
    channels: int = 0  # what it was made for: 1 grey, 3 colour
    parameters: int = 0  # trainable ones with 7 classes at that size and those channels
    published: int = 0  # as its source counts
    counted: str = ""  # how its source counts, where that differs


_KERAS = "with the running statistics of normalisation, as Keras counts"
_JOHNNY = "johnnycapra/Machine_Learning_Emotion_Recognition"
_ANNABEL = "annabchox/Facial_emotion_Detect"
_OWN = (
    Architecture("compact", OURS, "this workbench, docs/experiments.md", 48, 1, 1_134_607),
    Architecture("three_conv", REFERENCE, _JOHNNY, 224, 1, 11_169_287, 11_169_287),
    Architecture("cnn1", REFERENCE, f"{_ANNABEL}, model 1", 48, 1, 6_855_303, 6_855_303),
    Architecture("cnn2", REFERENCE, f"{_ANNABEL}, model 2", 48, 1, 569_613, 571_697, _KERAS),
    Architecture("cnn3", REFERENCE, f"{_ANNABEL}, model 3", 48, 1, 1_179_845, 1_184_225, _KERAS),
    Architecture("cnn4", REFERENCE, f"{_ANNABEL}, model 4", 48, 1, 849_981, 853_121, _KERAS),
    Architecture("vgg10", REFERENCE, "wafiakmal/awesome-ml-group, “VGG16”", 128, 1, 63_855_575, 63_863_463, _KERAS),
    Architecture(
        "mini_xception",
        REFERENCE,
        "Keras' example of image classification, as used by yhaendler/Emotion-Detection",
        56,
        3,
        2_780_063,
        2_782_649,
        f"one output, {_KERAS}",
    ),
    Architecture(
        "efficientnet_v2_b0",
        REFERENCE,
        "Tan and Le 2021, EfficientNetV2, at the scale of Keras' B0",
        224,
        3,
        5_867_671,
        7_200_312,
        f"1,000 classes, {_KERAS}",
    ),
    Architecture(
        "efficientnet_v2_b0_dense",
        REFERENCE,
        f"{_ANNABEL}, EfficientNetV2B0 with a dense layer of 128",
        224,
        3,
        6_023_831,
        6_084_695,
        _KERAS,
    ),
)
_PAPERS = {  # the beginning of the names -> who described them
    "alexnet": "Krizhevsky 2014, One weird trick",
    "convnext": "Liu et al. 2022, A ConvNet for the 2020s",
    "densenet": "Huang et al. 2016, Densely Connected Convolutional Networks",
    "efficientnet_b": "Tan and Le 2019, EfficientNet",
    "efficientnet_v2": "Tan and Le 2021, EfficientNetV2",
    "googlenet": "Szegedy et al. 2014, Going Deeper with Convolutions",
    "inception_v3": "Szegedy et al. 2015, Rethinking the Inception Architecture",
    "maxvit": "Tu et al. 2022, MaxViT",
    "mnasnet": "Tan et al. 2018, MnasNet",
    "mobilenet_v2": "Sandler et al. 2018, MobileNetV2",
    "mobilenet_v3": "Howard et al. 2019, Searching for MobileNetV3",
    "regnet": "Radosavovic et al. 2020, Designing Network Design Spaces",
    "resnet": "He et al. 2015, Deep Residual Learning",
    "resnext": "Xie et al. 2016, Aggregated Residual Transformations",
    "shufflenet_v2": "Ma et al. 2018, ShuffleNet V2",
    "squeezenet": "Iandola et al. 2016, SqueezeNet",
    "swin_": "Liu et al. 2021, Swin Transformer",
    "swin_v2": "Liu et al. 2021, Swin Transformer V2",
    "vgg": "Simonyan and Zisserman 2014, Very Deep Convolutional Networks",
    "vit": "Dosovitskiy et al. 2020, An Image is Worth 16x16 Words",
    "wide_resnet": "Zagoruyko and Komodakis 2016, Wide Residual Networks",
}
_PUBLISHED = {  # parameters with 7 classes, with 1,000 as published, pixels of its weights
    "alexnet": (57_032_519, 61_100_840, 224),
    "convnext_base": (87_573_639, 88_591_464, 224),
    "convnext_large": (196_241_095, 197_767_336, 224),
    "convnext_small": (49_460_071, 50_223_688, 224),
    "convnext_tiny": (27_825_511, 28_589_128, 224),
    "densenet121": (6_961_031, 7_978_856, 224),
    "densenet161": (26_487_463, 28_681_000, 224),
    "densenet169": (12_496_135, 14_149_480, 224),
    "densenet201": (18_106_375, 20_013_928, 224),
    "efficientnet_b0": (4_016_515, 5_288_548, 224),
    "efficientnet_b1": (6_522_151, 7_794_184, 240),
    "efficientnet_b2": (7_710_857, 9_109_994, 288),
    "efficientnet_b3": (10_706_991, 12_233_232, 300),
    "efficientnet_b4": (17_561_167, 19_341_616, 380),
    "efficientnet_b5": (28_355_127, 30_389_784, 456),
    "efficientnet_b6": (40_751_839, 43_040_704, 528),
    "efficientnet_b7": (63_804_887, 66_347_960, 600),
    "efficientnet_v2_l": (117_243_239, 118_515_272, 480),
    "efficientnet_v2_m": (52_867_323, 54_139_356, 480),
    "efficientnet_v2_s": (20_186_455, 21_458_488, 384),
    "googlenet": (5_607_079, 6_624_904, 224),
    "inception_v3": (21_799_911, 27_161_264, 299),
    "maxvit_t": (30_411_215, 30_919_624, 224),
    "mnasnet0_5": (946_479, 2_218_512, 224),
    "mnasnet0_75": (1_898_175, 3_170_208, 224),
    "mnasnet1_0": (3_111_279, 4_383_312, 224),
    "mnasnet1_3": (5_010_223, 6_282_256, 224),
    "mobilenet_v2": (2_232_839, 3_504_872, 224),
    "mobilenet_v3_large": (4_210_999, 5_483_032, 224),
    "mobilenet_v3_small": (1_525_031, 2_542_856, 224),
    "regnet_x_16gf": (52_243_879, 54_278_536, 224),
    "regnet_x_1_6gf": (8_283_527, 9_190_136, 224),
    "regnet_x_32gf": (105_308_207, 107_811_560, 224),
    "regnet_x_3_2gf": (14_294_615, 15_296_552, 224),
    "regnet_x_400mf": (5_097_783, 5_495_976, 224),
    "regnet_x_800mf": (6_591_367, 7_259_656, 224),
    "regnet_x_8gf": (37_665_095, 39_572_648, 224),
    "regnet_y_128gf": (637_471_645, 644_812_894, 224),
    "regnet_y_16gf": (80_586_315, 83_590_140, 224),
    "regnet_y_1_6gf": (10_319_653, 11_202_430, 224),
    "regnet_y_32gf": (141_359_761, 145_046_770, 224),
    "regnet_y_3_2gf": (17_933_929, 19_436_338, 224),
    "regnet_y_400mf": (3_906_231, 4_344_144, 224),
    "regnet_y_800mf": (5_653_007, 6_432_512, 224),
    "regnet_y_8gf": (37_378_591, 39_381_472, 224),
    "resnet101": (42_514_503, 44_549_160, 224),
    "resnet152": (58_158_151, 60_192_808, 224),
    "resnet18": (11_180_103, 11_689_512, 224),
    "resnet34": (21_288_263, 21_797_672, 224),
    "resnet50": (23_522_375, 25_557_032, 224),
    "resnext101_32x8d": (86_756_679, 88_791_336, 224),
    "resnext101_64x4d": (81_420_615, 83_455_272, 224),
    "resnext50_32x4d": (22_994_247, 25_028_904, 224),
    "shufflenet_v2_x0_5": (348_967, 1_366_792, 224),
    "shufflenet_v2_x1_0": (1_260_779, 2_278_604, 224),
    "shufflenet_v2_x1_5": (2_485_799, 3_503_624, 224),
    "shufflenet_v2_x2_0": (5_359_339, 7_393_996, 224),
    "squeezenet1_0": (739_015, 1_248_424, 224),
    "squeezenet1_1": (726_087, 1_235_496, 224),
    "swin_b": (86_750_399, 87_768_224, 224),
    "swin_s": (48_842_641, 49_606_258, 224),
    "swin_t": (27_524_737, 28_288_354, 224),
    "swin_v2_b": (86_913_023, 87_930_848, 256),
    "swin_v2_s": (48_973_825, 49_737_442, 256),
    "swin_v2_t": (27_587_953, 28_351_570, 256),
    "vgg11": (128_795_015, 132_863_336, 224),
    "vgg11_bn": (128_800_519, 132_868_840, 224),
    "vgg13": (128_979_527, 133_047_848, 224),
    "vgg13_bn": (128_985_415, 133_053_736, 224),
    "vgg16": (134_289_223, 138_357_544, 224),
    "vgg16_bn": (134_297_671, 138_365_992, 224),
    "vgg19": (139_598_919, 143_667_240, 224),
    "vgg19_bn": (139_609_927, 143_678_248, 224),
    "vit_b_16": (85_804_039, 86_567_656, 224),
    "vit_b_32": (87_460_615, 88_224_232, 224),
    "vit_h_14": (632_198_407, 633_470_440, 518),
    "vit_l_16": (303_308_807, 304_326_632, 224),
    "vit_l_32": (305_517_575, 306_535_400, 224),
    "wide_resnet101_2": (124_852_039, 126_886_696, 224),
    "wide_resnet50_2": (66_848_583, 68_883_240, 224),
}


def _read_published() -> Iterable[Architecture]:
    for name, (parameters, published, image_size) in _PUBLISHED.items():
        prefix = max((prefix for prefix in _PAPERS if name.startswith(prefix)), key=len)
        counted = "1,000 classes" if name != "inception_v3" else "1,000 classes and a second head for training"
        yield Architecture(name, PUBLISHED, _PAPERS[prefix], image_size, 3, parameters, published, counted)


ARCHITECTURES = {each.name: each for each in (*_OWN, *_read_published())}  # the networks
HEAD, ENSEMBLE = "head", "ensemble"
ABOVE_RUNS = {
    HEAD: Architecture(HEAD, ON_RUNS, "a linear or small head on the features of a run, trained in seconds"),
    ENSEMBLE: Architecture(ENSEMBLE, ON_RUNS, "the mean of the probabilities of several runs"),
}


def list_installed() -> list[Architecture]:
    """What other packages bring, by name; theirs are not loaded, and a name that is taken already stays as it is."""
    found = {point.name: point for point in entry_points(group=GROUP)}
    return [
        Architecture(name, INSTALLED, f"{point.dist.name} {point.dist.version}" if point.dist else point.value)
        for name, point in sorted(found.items())
        if name not in ARCHITECTURES and name not in ABOVE_RUNS
    ]


def list_networks() -> list[Architecture]:
    """All that can be trained from images."""
    return [*ARCHITECTURES.values(), *list_installed()]


def list_families() -> dict[str, list[Architecture]]:
    """All that `--arch` takes, by family, those that exist."""
    everything = [*list_networks(), *ABOVE_RUNS.values()]
    families = (OURS, REFERENCE, ON_RUNS, INSTALLED, PUBLISHED)
    grouped = {family: [each for each in everything if each.family == family] for family in families}
    return {family: found for family, found in grouped.items() if found}


def is_known(name: str) -> bool:
    """Whether `--arch` takes the name. Looks at the installed packages only for a name that is not built in."""
    return name in ARCHITECTURES or name in ABOVE_RUNS or any(each.name == name for each in list_installed())


def tell_unknown(name: str) -> str:
    """Why `--arch` does not take the name, with the names that come nearest."""
    known = [each.name for each in (*list_networks(), *ABOVE_RUNS.values())]
    near = difflib.get_close_matches(name, known, n=4)
    hint = f"did you mean {' or '.join(near)}?" if near else f"try {', '.join(known[:8])} or resnet18."
    return f"There is no architecture “{name}”; {hint} `workbench architectures` lists all."
