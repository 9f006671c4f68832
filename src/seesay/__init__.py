"""seesay captions photos and shows, word by word, where the model attended.

>>> import seesay
>>> model = seesay.load()                      # the packaged model; or a bundle's folder
>>> model.caption("photo.jpg").text            # doctest: +SKIP
'a dog runs across the grass'
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seesay.version import __version__

if TYPE_CHECKING:
    from seesay.explain import show
    from seesay.runtime import CaptionModel, EncodedPhoto, SampleOptions
    from seesay.runtime.device import Wanted
    from seesay.runtime.sessions import Precision

# Libraries that report to their makers unless told not to. They read these variables when they are first imported,
# which nothing in seesay does before this line; a value that the user has set is obeyed.
TELEMETRY_OFF = {"ORT_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "RAY_USAGE_STATS_ENABLED": "0"}
for _name, _value in TELEMETRY_OFF.items():
    os.environ.setdefault(_name, _value)

__all__ = ["CaptionModel", "EncodedPhoto", "SampleOptions", "__version__", "load", "show"]


def __getattr__(name: str) -> Any:
    """Names of `__all__` that load onnxruntime or Pillow, when they are first asked for."""
    if name == "show":
        from seesay import explain

        return explain.show
    if name in __all__:
        from seesay import runtime

        return getattr(runtime, name)
    raise AttributeError(f"module 'seesay' has no attribute '{name}'")


def load(
    path_or_name: str | Path | None = None,
    precision: Precision = "auto",
    threads: int | None = None,
    device: Wanted = "cpu",
) -> CaptionModel:
    """Open a model bundle for captioning on ONNX Runtime; needs the base install only.

    Args:
        path_or_name: a bundle's folder, the name of a packaged model, or None for the packaged default.
        precision: "float32", "int8", or "auto", which takes the one that is known to be faster here, for encoder and
            decoder apart (8 bits make some captions others, nearly as good).
        threads: cores to use; None takes every one that the process may run on.
        device: where the graphs run: "cpu", an accelerator that the installed onnxruntime has ("cuda", "directml",
            "coreml"), or "auto", which takes the first of these that starts, else the processor.

    Raises:
        seesay.errors.BundleError: the bundle is missing, damaged, of a foreign format, or lacks that precision.
        seesay.errors.DeviceError: the device is not there, or does not start.
    """
    from seesay.runtime import CaptionModel  # onnxruntime loads only when a model is asked for

    return CaptionModel.load(path_or_name, threads, precision, device)
