"""Where a model looks: Grad-CAM, and the test whether what it marks is what the prediction rests on.

A map that looks convincing may say nothing about the model (Adebayo et al. 2018, Sanity Checks for Saliency Maps). So
each is judged by deletion and insertion (Petsiuk et al. 2018, RISE): blur the marked places first and the probability
should fall early, show them first on a blurred image and it should rise early; both against random maps as smooth.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from captum.attr import LayerGradCam
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ml.corrupt import blur
from ml.devices import autocast
from ml.models.ensemble import Ensemble
from ml.occlude import hide_region
from ml.predict import Images, Model, check_images, normalise
from ml.progress import Ticker

STEPS = 8  # of a deletion or insertion: each blurs or shows an eighth of the image more
DRAWS = 3  # random maps of each image
BLUR_PERCENT = 12.0  # of the side: of a face of 48 px hardly the outline is left
_MOST_LAYERS = 3
_LEAST_SIDE = 2  # a grid of one place marks nothing
_JOINT = " + "


@dataclass(frozen=True)
class Faithfulness:
    """How much sooner marked places make the prediction than others do, on N images.

    A score is the area under the insertion curve less that under the deletion curve, -1 to 1, higher is better.
    """

    own: NDArray[np.float64]  # (N,) of each image's own map
    random: NDArray[np.float64]  # (N,) mean of random maps of the same grid
    other: NDArray[np.float64]  # (N,) of the map of another of the images
    deletion: dict[str, NDArray[np.float64]]  # own, random, other -> mean probability (STEPS + 1,), nothing to all gone
    insertion: dict[str, NDArray[np.float64]]  # likewise, nothing to all shown


def list_layers(model: Model) -> list[str]:
    """Names of the layers that maps can be made at, at most three, the coarsest grid first.

    A layer counts if it gives (B, channels, G, G) with G of at least 2 and less than the image; for each G it is the
    last of the outermost ones, so that it ends a stage and is no branch within one. Of an ensemble a name joins a layer
    of each member: "members.0... + members.1...". Deterministic. Cost: one pass over two images.
    Raises ValueError if there is none: the grid has shrunk to a single place.
    """
    grids, size = _list_grids(model), model.config.image_size
    parts = (
        [f"members.{place}." for place in range(len(model.net.members))] if isinstance(model.net, Ensemble) else [""]
    )
    found = [_pick_layers(grids, size=size, part=part) for part in parts]
    if not all(found):
        raise ValueError(f"{model.config.arch} keeps no grid of places of {size}x{size} images: nothing can be mapped")
    return [_JOINT.join(layers) for layers in zip(*found, strict=False)][:_MOST_LAYERS]


def _pick_layers(grids: Sequence[tuple[str, int]], *, size: int, part: str) -> list[str]:
    """The outermost and last layer of each grid, of the layers whose name begins with `part`."""
    found: dict[int, str] = {}
    for name, side in grids:
        is_grid = _LEAST_SIDE <= side < size and name.startswith(part)
        if is_grid and (side not in found or name.count(".") <= found[side].count(".")):
            found[side] = name
    return [found[side] for side in sorted(found)]


def _list_grids(model: Model) -> list[tuple[str, int]]:
    """Layers that give a square grid, with its side, in the order in which they finish; each is used once in a pass."""
    finished: list[tuple[str, int]] = []

    def note(name: str) -> Callable[[nn.Module, object, object], None]:
        def hook(_module: nn.Module, _inputs: object, output: object) -> None:
            is_grid = isinstance(output, Tensor) and output.ndim == 4 and output.shape[2] == output.shape[3]
            finished.append((name, output.shape[2] if isinstance(output, Tensor) and is_grid else 0))

        return hook

    layers = [  # a pooling to a fixed grid, as VGG's, repeats places that were one before
        (name, layer)
        for name, layer in model.net.named_modules()
        if name and not isinstance(layer, nn.AdaptiveAvgPool2d)
    ]
    handles = [layer.register_forward_hook(note(name)) for name, layer in layers]
    size, channels = model.config.image_size, model.config.channels
    try:
        with torch.inference_mode():
            model.net(torch.zeros(2, channels, size, size, device=model.device))
    finally:
        for handle in handles:
            handle.remove()
    uses = Counter(name for name, _ in finished)
    return [(name, side) for name, side in finished if side and uses[name] == 1]


def map_saliency(
    model: Model,
    images: Images,
    *,
    layer: str,
    batch_size: int = 256,
    on_batch: Callable[[int, int], None] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the Grad-CAM map of each image for the class that the model gives it, and that class.

    images: uint8 (N, C, S, S), as `ml.predict.predict` takes them; masked and normalised in the same way. N may be 0.
    layer: one of `list_layers`.
    Returns maps float32 (N, G, G), 0 to 1 with the strongest place at 1 (all 0 where nothing speaks for the class),
    and columns int64 (N,). Deterministic for equal batches and threads. Cost: a little more than predicting.
    Source: Selvaraju et al. 2017, Grad-CAM; the gradients are captum's.
    """
    pixels = check_images(images, model.config)
    ticker = Ticker(on_batch, len(pixels))
    maps, columns = [], []
    for start in range(0, len(pixels), batch_size):
        batch = hide_region(pixels[start : start + batch_size], model.config.mask)
        found, predicted = _map_batch(model, batch, layer)
        maps.append(found.cpu().numpy())
        columns.append(predicted.cpu().numpy())
        ticker.tick(min(start + batch_size, len(pixels)))
    if not maps:
        return np.zeros((0, 1, 1), np.float32), np.zeros(0, np.int64)
    return np.concatenate(maps), np.concatenate(columns)


def _map_batch(model: Model, pixels: Tensor, layer: str) -> tuple[Tensor, Tensor]:
    predicted: list[Tensor] = []

    def score(inputs: Tensor) -> Tensor:
        with autocast(model.device, model.precision):
            best, columns = model.net(inputs).max(1)  # (B,) logit of the predicted class
        predicted.append(columns)
        highest: Tensor = best
        return highest

    inputs = normalise(pixels.to(model.device), model.mean, model.std)
    found: list[Tensor] = []
    for name in layer.split(_JOINT):
        one = LayerGradCam(score, model.net.get_submodule(name)).attribute(inputs, relu_attributions=True)
        found.append(_scale(one.detach().float()))  # (B, 1, G, G)
    side = max(one.shape[-1] for one in found)
    alike = [
        functional.interpolate(one, (side, side), mode="bilinear") if one.shape[-1] < side else one for one in found
    ]
    return _scale(torch.stack(alike).mean(0)).squeeze(1), predicted[-1]  # (B, G, G)


def _scale(maps: Tensor) -> Tensor:
    """Maps (B, 1, G, G) with the strongest place of each at 1."""
    scaled: Tensor = maps / maps.amax((2, 3), keepdim=True).clamp(min=1e-12)
    return scaled


def choose_layer(model: Model, images: Images, *, rng: np.random.Generator) -> str:
    """The layer of `list_layers` whose maps are furthest above random ones and those of other images together.

    images: uint8 (N, C, S, S), N >= 1, not those that `measure_faithfulness` is to be believed on. Ties go to the
    deepest layer. Cost: about 130 predictions of each image.
    """
    layers = list_layers(model)
    if len(layers) == 1:
        return layers[0]
    leads = []
    for layer in layers:
        maps, columns = map_saliency(model, images, layer=layer)
        found = measure_faithfulness(model, images, maps, columns, rng=rng, draws=1)
        leads.append(float((2 * found.own - found.random - found.other).mean()))
    return layers[int(np.argmax(leads))]


def measure_faithfulness(
    model: Model,
    images: Images,
    maps: NDArray[np.float32],
    columns: NDArray[np.int64],
    *,
    rng: np.random.Generator,
    draws: int = DRAWS,
    on_batch: Callable[[int, int], None] | None = None,
) -> Faithfulness:
    """Delete and insert by each image's map, by random maps of the same grid, and by another image's map.

    images: uint8 (N, C, S, S), N >= 1. maps, columns: of these images, from `map_saliency`.
    `rng` draws `draws` random maps of each image, who gets whose map, and the order of places that are marked alike.
    Cost: 14 predictions of each image for each map: 70 by default.
    """
    pixels = check_images(images, model.config)
    tester = _Tester(model, pixels, columns)
    order = rng.permutation(len(maps))
    swapped = np.empty_like(maps)
    swapped[order] = maps[np.roll(order, 1)]
    kinds = {"own": [maps], "random": [rng.random(maps.shape, np.float32) for _ in range(draws)], "other": [swapped]}
    deletion, insertion, scores = {}, {}, {}
    ticker = Ticker(on_batch, 3)
    for kind, drawn in kinds.items():
        curves = [tester.trace(torch.from_numpy(one) + _break_ties(one.shape, rng)) for one in drawn]
        deletion[kind] = np.mean([removed.mean(0) for removed, _ in curves], axis=0)
        insertion[kind] = np.mean([shown.mean(0) for _, shown in curves], axis=0)
        scores[kind] = np.mean([_measure_area(shown) - _measure_area(removed) for removed, shown in curves], axis=0)
        ticker.tick(len(scores))
    return Faithfulness(scores["own"], scores["random"], scores["other"], deletion, insertion)


def _break_ties(shape: tuple[int, ...], rng: np.random.Generator) -> Tensor:
    return torch.from_numpy(rng.random(shape, np.float32)) * 1e-4


def _measure_area(curve: NDArray[np.float64]) -> NDArray[np.float64]:
    """Area under curves (N, STEPS + 1) over 0 to 1."""
    return np.asarray(np.trapezoid(curve, dx=1 / STEPS, axis=1), np.float64)


class _Tester:
    """Images with their blurred selves, and the probability of one class as more and more of one becomes the other."""

    def __init__(self, model: Model, pixels: Tensor, columns: NDArray[np.int64]) -> None:
        self._model = model
        self._columns = torch.from_numpy(columns)
        self._clear = hide_region(pixels, model.config.mask).to(torch.float32)
        self._blurred = blur(self._clear, BLUR_PERCENT)
        self._ends = self._ask(self._clear), self._ask(self._blurred)

    def trace(self, maps: Tensor) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The probability (N, STEPS + 1) while the strongest places of maps (N, G, G) are blurred, or shown, first."""
        ranks = self._rank(maps)
        clear, blurred = self._ends
        removed, shown = [clear], [blurred]
        for step in range(1, STEPS):
            marked = ranks < step / STEPS  # (N, 1, S, S)
            removed.append(self._ask(torch.where(marked, self._blurred, self._clear)))
            shown.append(self._ask(torch.where(marked, self._clear, self._blurred)))
        return np.stack([*removed, blurred], 1), np.stack([*shown, clear], 1)

    def _rank(self, maps: Tensor) -> Tensor:
        """0 for the strongest pixel of each image to nearly 1 for the weakest, (N, 1, S, S)."""
        side = self._clear.shape[-1]
        wide = functional.interpolate(maps.unsqueeze(1), (side, side), mode="bilinear", align_corners=False)
        places = wide.flatten(1).argsort(dim=1, descending=True, stable=True).argsort(dim=1)  # (N, S * S)
        return (places / places.shape[1]).view(-1, 1, side, side)

    def _ask(self, pixels: Tensor, *, batch_size: int = 512) -> NDArray[np.float64]:
        """(N,) probability of each image's class."""
        found = []
        for start in range(0, len(pixels), batch_size):
            rows = slice(start, start + batch_size)
            inputs = normalise(pixels[rows].to(self._model.device), self._model.mean, self._model.std)
            with torch.inference_mode(), autocast(self._model.device, self._model.precision):
                probs = self._model.net(inputs).softmax(1).cpu()
            found.append(probs.gather(1, self._columns[rows].unsqueeze(1)).squeeze(1))
        return torch.cat(found).numpy().astype(np.float64)
