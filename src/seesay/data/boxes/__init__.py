"""Where the things that captions name lie in the photo: boxes drawn by people."""

from seesay.data.boxes.join import read_boxes
from seesay.data.boxes.naming import boxes_named

__all__ = ["boxes_named", "read_boxes"]
