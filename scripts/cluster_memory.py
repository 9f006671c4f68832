"""The peak memory of captioning by the number of photos: everything but the model, which says the same of each photo.

    python scripts/cluster_memory.py PHOTO.jpg --rows 20000 200000

A manifest that names one photo so many times goes through the sources, the writers and, with --ray, a local Ray
cluster. The memory is that of the process that lists and writes, the driver; a photo is opened for each row.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from seesay.caption import Caption, Word
from seesay.cli.caption import CaptionOptions, caption_photos
from seesay.cluster.run import ClusterOptions, caption_on_cluster
from seesay.data.images import ImageSource, name_of, photo_bytes
from seesay.data.sources import Sources

TEXT = "a dog runs on the grass"
WORDS = tuple(Word(word, -1.0, np.full((8, 8), 1 / 64, np.float32)) for word in TEXT.split())


class SaysTheSame:
    """In the place of a `CaptionModel`."""

    encoder_precision = precision = "int8"

    class bundle:  # noqa: N801
        """What `made_by` asks for."""

        name, digest = "none", "none"

        class search:  # noqa: N801
            """Its search."""

            beam = 1

    def caption_many(self, photos: Iterable[ImageSource], **_: Any) -> Iterator[Caption]:
        """Read each photo's bytes, and say the same."""
        for photo in photos:
            photo_bytes(photo) if isinstance(photo, str) else photo.read()  # pyright: ignore
            yield Caption(TEXT, -6.0, WORDS, name_of(photo))


def say_the_same(model: SaysTheSame, photos: list[Any]) -> Iterator[Caption]:
    """What the actors call."""
    return model.caption_many(photos)


def run(photo: str, rows: int, way: str) -> None:
    """Caption so many rows and print the peak memory in MB and the seconds."""
    import seesay.cli.caption as verb

    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        manifest = Path(folder, "photos.jsonl")
        with manifest.open("w") as file:
            for number in range(rows):
                file.write(json.dumps({"id": f"photo{number:09}", "path": photo}) + "\n")
        sources = Sources([manifest])
        if way == "ray":
            how = ClusterOptions("local", actors=2)
            caption_on_cluster(sources, Path(folder, "out"), SaysTheSame, say_the_same, {}, how)  # pyright: ignore
        else:
            verb.load_model = lambda *_: SaysTheSame()  # pyright: ignore
            sys.stdout = Path("/dev/null").open("w")  # noqa: SIM115
            caption_photos(sources, CaptionOptions(outputs={way: Path(folder, "out")}))
            sys.stdout = sys.__stdout__
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, time.monotonic() - started)


def main() -> None:
    """Print a row for each way and number."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("photo", type=lambda path: str(Path(path).resolve()))
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000, 200_000])
    parser.add_argument("--way", choices=["json", "parquet", "ray"], help="measure in this process; default: all")
    asked = parser.parse_args()
    if asked.way:
        run(asked.photo, asked.rows[0], asked.way)
        return
    for way in ("json", "parquet", "ray"):
        for rows in asked.rows:
            command = [sys.executable, __file__, asked.photo, "--rows", str(rows), "--way", way]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            memory, seconds = map(float, done.stdout.split()[-2:])
            print(f"{way:8} {rows:9,} rows: {memory:6.0f} MB, {seconds:5.0f} s", flush=True)


if __name__ == "__main__":
    main()
