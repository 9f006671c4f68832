"""Captioning without torch: a bundle on ONNX Runtime."""

from seesay.runtime.model import CaptionModel

__all__ = ["CaptionModel"]
