"""Import torchvision next to a CPU-only torch.

The torchvision of the package index is built against CUDA: next to a CPU build of torch its import ends with
"operator torchvision::nms does not exist". Its Python parts work once the two missing operators are declared, which
is done here, only after the plain import has failed.
"""

import importlib
import sys
import threading
import warnings
from types import ModuleType

import torch

_lock = threading.Lock()
_libraries: list[torch.library.Library] = []  # kept: an operator vanishes with the Library object that declared it

OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


def load_torchvision() -> ModuleType:
    """Return the `torchvision` module, importing it at the first call (about two seconds).

    Safe to call from several threads and as often as wanted. Image reading (`torchvision.io`) does not work on a
    CPU build: decode with OpenCV or Pillow. Raises what the import raises for any other defect of the installation.
    """
    with _lock:
        try:
            return _import_quietly()
        except RuntimeError as error:
            if "torchvision::nms" not in str(error) or _libraries:
                raise
        _declare_operators()
        return _import_quietly()


def _import_quietly() -> ModuleType:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Failed to load image Python extension")
        return importlib.import_module("torchvision")


def _declare_operators() -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]  # what the failed import left behind
    library = torch.library.Library("torchvision", "DEF")  # a second DEF in one process raises
    for operator in OPERATORS:
        library.define(operator)
    _libraries.append(library)
