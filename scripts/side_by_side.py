"""Compare how fast versions of seesay caption one photo: `python scripts/side_by_side.py PHOTOS VERSION VERSION...`.

PHOTOS is a folder. A VERSION is a checkout, whose packaged model is used, perhaps with options of
`model.caption`: `.` and `.,beam=8` and `../earlier`. Each version runs in a process of its own; they
caption the same photo in turn, so that whatever slows the machine slows all of them. Prints the
median time of a photo, and the median of its ratio to the first version's.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np

from seesay.data.images import find_photos

PHOTOS, ROUNDS = 200, 3
WORKER = """
import sys, time
import seesay
model = seesay.load()
for line in sys.stdin:
    start = time.perf_counter()
    model.caption(line.rstrip("\\n"), {options})
    print(time.perf_counter() - start, flush=True)
"""


class Version:
    """A process that captions with one version."""

    def __init__(self, name: str) -> None:
        folder, _, options = name.partition(",")
        self.name = name
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER.format(options=options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(Path(folder).resolve() / "src")},
        )

    def seconds(self, photo: str) -> float:
        """How long a photo takes."""
        assert self.process.stdin and self.process.stdout
        print(photo, file=self.process.stdin, flush=True)
        if not (answer := self.process.stdout.readline()):
            sys.exit(f"{self.name}: its process has ended, see above")
        return float(answer)


def main(folder: str, *names: str) -> None:
    """Caption the photos and print the figures."""
    photos = [str(Path(photo).resolve()) for photo in find_photos([folder])][:PHOTOS]
    versions, order = list(map(Version, names)), random.Random(0)
    times: dict[Version, list[float]] = {version: [] for version in versions}
    for photo in photos * ROUNDS:
        for version in order.sample(versions, len(versions)):
            version.seconds(photo)  # after a wait, a process is slow at first
            times[version].append(version.seconds(photo))
    first = np.array(times[versions[0]])
    for version, measured in times.items():
        ratio = np.median(np.array(measured) / first)
        print(f"{version.name}: {1e3 * np.median(measured):.2f} ms, {ratio:.3f} times {versions[0].name}")


if __name__ == "__main__":
    main(*sys.argv[1:])
