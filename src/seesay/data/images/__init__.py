"""Photos: finding, opening and preprocessing them."""

from seesay.data.images.find import find_photos, passed_over_note
from seesay.data.images.formats import photo_formats, photo_suffixes
from seesay.data.images.opening import open_photo, photo_bytes, picture_of
from seesay.data.images.sources import File, HasPicture, ImageSource, as_photos, name_of, read_whole
from seesay.data.images.transform import ImageTransform, PhotoRead, Resample

__all__ = [
    "File",
    "HasPicture",
    "ImageSource",
    "ImageTransform",
    "PhotoRead",
    "Resample",
    "as_photos",
    "find_photos",
    "name_of",
    "open_photo",
    "passed_over_note",
    "photo_bytes",
    "photo_formats",
    "photo_suffixes",
    "picture_of",
    "read_whole",
]
