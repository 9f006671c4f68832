"""Captioning without torch: a bundle on ONNX Runtime."""

from seesay.runtime.encoded import EncodedPhoto
from seesay.runtime.engine import Engine
from seesay.runtime.model import CaptionModel
from seesay.search import BeamOptions, SampleOptions

__all__ = ["BeamOptions", "CaptionModel", "EncodedPhoto", "Engine", "SampleOptions"]
