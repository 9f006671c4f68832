"""Where the graphs run: ONNX Runtime's execution providers, by short names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import onnxruntime

from seesay.errors import DeviceError

Device = Literal["cpu", "cuda", "directml", "coreml"]
Wanted = Literal["auto", "cpu", "cuda", "directml", "coreml"]

PROVIDERS: dict[Device, str] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "directml": "DmlExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
}
ACCELERATORS: tuple[Device, ...] = ("cuda", "directml", "coreml")  # the order in which "auto" takes them
PACKAGES = {"cuda": "onnxruntime-gpu", "directml": "onnxruntime-directml", "coreml": "onnxruntime on a Mac"}


def choose_device(wanted: Wanted, available: Sequence[str] | None = None) -> Device:
    """The device to try.

    Args:
        wanted: one of `PROVIDERS`, or "auto": the first accelerator that the installed ONNX Runtime has, else "cpu".
        available: ONNX Runtime's names of its providers; None asks it.

    Raises:
        DeviceError: the installed ONNX Runtime does not have it.
    """
    providers = onnxruntime.get_available_providers() if available is None else available
    there: list[Device] = [device for device, provider in PROVIDERS.items() if provider in providers]
    if wanted == "auto":
        accelerators: list[Device] = [device for device in ACCELERATORS if device in there]
        return accelerators[0] if accelerators else "cpu"
    if wanted not in PROVIDERS:
        raise DeviceError(f"device={wanted}: expected auto, {', '.join(PROVIDERS)}")
    if wanted not in there:
        raise DeviceError(
            f"device={wanted}: ONNX Runtime {onnxruntime.__version__} as installed here has only {', '.join(there)}; "
            f"{wanted} comes with {PACKAGES[wanted]}"
        )
    return wanted


def active_device(session: onnxruntime.InferenceSession) -> Device:
    """The device that a session ended up on: where an accelerator cannot start, ONNX Runtime takes the processor."""
    first, *_ = session.get_providers()
    devices: dict[str, Device] = {provider: device for device, provider in PROVIDERS.items()}
    return devices.get(first, "cpu")
