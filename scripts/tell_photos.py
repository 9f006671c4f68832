"""How well a calibrated model tells photos from other pictures.

    python scripts/tell_photos.py flickr8k-coco FOLDER/test PATH/TO/flickr8k PATH/TO/coco_part

FOLDER is that of `scripts/make_non_photos.py`. The photos are those of each data set's dev split.
"""

from __future__ import annotations

import sys
from pathlib import Path

import seesay
from seesay.calibration.calibrate import tell_photos
from seesay.calibration.observe import features_of, pictures_by_kind
from seesay.data.readers import read_dataset


def main(name: str, folder: str, *data: str) -> None:
    """Print a line for each data set."""
    model = seesay.load(name)
    head = model.require_confidence().head
    pictures = {kind: list(features_of(model, paths)) for kind, paths in pictures_by_kind(Path(folder)).items()}
    for path in data:
        photos = features_of(model, [Path(record.image) for record in read_dataset([Path(path)]).split("dev")])
        print(Path(path).name, tell_photos(head, list(photos), pictures), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
