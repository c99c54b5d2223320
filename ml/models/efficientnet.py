"""EfficientNetV2-B0, which torchvision does not have, from torchvision's blocks."""

from functools import partial

from torch import nn

from ml.models.classifier import Backbone
from ml.vision import load_torchvision

# kind, expansion, size of filter, stride, channels in and out, layers: table 4 of the paper at the scale of B0
FUSED, SEPARATE = "FusedMBConvConfig", "MBConvConfig"
STAGES = (
    (FUSED, 1, 3, 1, 32, 16, 1),
    (FUSED, 4, 3, 2, 16, 32, 2),
    (FUSED, 4, 3, 2, 32, 48, 2),
    (SEPARATE, 4, 3, 2, 48, 96, 3),
    (SEPARATE, 6, 3, 1, 96, 112, 5),
    (SEPARATE, 6, 3, 2, 112, 192, 8),
)
WIDTH = 1280  # of the features


def make_efficientnet_v2_b0(channels: int, image_size: int) -> Backbone:
    """Return the network without its head: float (B, channels, S, S) to (B, 1280) features, for any S >= 1.

    5,919,312 parameters, as Keras counts, for colour images. A grey image is seen three times.
    Source: Tan and Le 2021, EfficientNetV2: Smaller Models and Faster Training; the scale of B0 as in Keras.
    """
    del image_size  # the grid is averaged at the end, whatever its size
    nets = load_torchvision().models.efficientnet
    stages = [getattr(nets, kind)(*numbers) for kind, *numbers in STAGES]
    norm = partial(nn.BatchNorm2d, eps=1e-3)
    net = nets.EfficientNet(stages, dropout=0.2, stochastic_depth_prob=0.2, last_channel=WIDTH, norm_layer=norm)
    net.classifier[1] = nn.Identity()
    return Backbone(net, WIDTH, repeat_channels=3 // channels)


def make_efficientnet_v2_b0_dense(channels: int, image_size: int) -> Backbone:
    """`make_efficientnet_v2_b0` with a normalised dense layer; features (B, 128).

    6,084,695 parameters, as Keras counts, for colour images and 7 classes. That the layers between are a dense one of
    128 with ReLU and a normalisation follows from the count; nothing says where dropout stood, so there is none but
    the network's own. Source: annabchox/Facial_emotion_Detect.
    """
    plain = make_efficientnet_v2_b0(channels, image_size)
    net = nn.Sequential(plain.net, nn.Linear(WIDTH, 128), nn.ReLU(inplace=True), nn.BatchNorm1d(128))
    return Backbone(net, 128, repeat_channels=plain.repeat_channels)
