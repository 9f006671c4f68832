"""The speed of captioning decoded photos by torch on a graphics card."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from seesay.bench.timing import BEAMS, Figure, by_beam, interleaved
from seesay.export.load import load_captioner
from seesay.runtime import CaptionModel
from seesay.training.generate import generate


def captioning_on_device(
    model: CaptionModel, photos: Sequence[Path], repeats: int, device: str = "cuda"
) -> Iterator[Figure]:
    """Photos per second from pixels to tokens, all photos in one batch.

    The limit is the encoder alone on the same device.
    """
    bundle = model.bundle
    captioner = load_captioner(bundle).to(device)
    pixels = torch.from_numpy(np.stack([bundle.transform(photo) for photo in photos])).to(device)

    def search(beam: int) -> Callable[[], object]:
        options = replace(bundle.search, beam=beam)
        return lambda: generate(captioner.decoder, captioner.prepare(pixels), options)

    def encode() -> None:
        captioner.encoder(pixels)
        if device != "cpu":
            torch.cuda.synchronize()

    tasks = {"limit": encode, **{f"beam_{beam}": search(beam) for beam in BEAMS}}
    with torch.inference_mode():
        interleaved(1, **tasks)  # the first run loads kernels
        seconds = interleaved(repeats, **tasks)
    what = f"pixels to tokens on {device}, batch {len(photos)}"
    yield from by_beam("device", what, len(photos), seconds, "encoder alone there")
