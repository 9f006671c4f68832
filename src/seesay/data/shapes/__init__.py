"""The synthetic set: pictures of coloured shapes with captions and the box of every noun."""

from seesay.data.shapes.dataset import ensure_shapes, grounded, grounding_of, load_grounding, write_shapes
from seesay.data.shapes.grammar import write_captions
from seesay.data.shapes.picture import ShapeObject, draw_picture

__all__ = [
    "ShapeObject",
    "draw_picture",
    "ensure_shapes",
    "grounded",
    "grounding_of",
    "load_grounding",
    "write_captions",
    "write_shapes",
]
