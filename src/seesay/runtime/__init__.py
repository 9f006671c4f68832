"""Captioning without torch: a bundle on ONNX Runtime."""

from seesay.runtime.model import CaptionModel, find_bundle

__all__ = ["CaptionModel", "find_bundle"]
