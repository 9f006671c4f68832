"""Boxes around the objects on photos, drawn by people, and the words that name them."""

from seesay.data.boxes.join import read_boxes
from seesay.data.boxes.naming import boxes_named

__all__ = ["boxes_named", "read_boxes"]
