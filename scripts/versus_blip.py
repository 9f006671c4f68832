"""Compare the speed with a captioner of BLIP-base's size: `python scripts/versus_blip.py`.

Needs `pip install transformers`.

BLIP has random weights of the default sizes (`BlipConfig()`: ViT-B/16 at 384 pixels, a 12-layer
text decoder), and runs eagerly in float32, greedily, with exactly 15 new words and its own image
processor. Both models caption the same files in turns, from file to text.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import BlipConfig, BlipForConditionalGeneration, BlipImageProcessor  # pyright: ignore[reportMissingImports]

import seesay
from seesay.bench.make_photos import make_photos
from seesay.bench.timing import interleaved

WORDS = 15


class Blip:
    """BLIP as a function of files, in batches."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        config = BlipConfig()
        self.processor: Any = BlipImageProcessor(size={"height": 384, "width": 384})
        self.model: Any = BlipForConditionalGeneration(config).eval()

    @torch.inference_mode()
    def caption(self, photos: list[Path], batch: int) -> None:
        """Greedy captions of the photos."""
        for start in range(0, len(photos), batch):
            images = [Image.open(photo).convert("RGB") for photo in photos[start : start + batch]]
            pixels = self.processor(images, return_tensors="pt")["pixel_values"]
            ids = self.model.generate(
                pixel_values=pixels, num_beams=1, do_sample=False, min_new_tokens=WORDS, max_new_tokens=WORDS
            )
            assert len(ids) == len(images) and ids.shape[1] >= WORDS


def main() -> None:
    """Print photos a second of both and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=256, help="for seesay; BLIP captions the first 8")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--beam", type=int, default=3, help="of seesay; BLIP is greedy")
    asked = parser.parse_args()
    blip, model = Blip(), seesay.load()
    size = sum(weights.numel() for weights in blip.model.parameters()) / 1e6
    print(f"BLIP: {size:.0f} M weights, {torch.get_num_threads()} threads")
    with tempfile.TemporaryDirectory() as folder:
        photos = make_photos(Path(folder), asked.photos)
        few = photos[:8]
        tasks = {
            "ours": lambda: list(model.caption_many(photos, beam=asked.beam)),
            "batch 1": lambda: blip.caption(few[:4], 1),
            "batch 8": lambda: blip.caption(few, 8),
        }
        numbers = {"ours": len(photos), "batch 1": 4, "batch 8": 8}
        interleaved(1, ours=tasks["ours"], blip=tasks["batch 8"])  # warm
        seconds = interleaved(asked.repeats, **tasks)
    speeds = {name: [numbers[name] / each for each in found] for name, found in seconds.items()}
    print(f"seesay, beam {asked.beam}: {statistics.median(speeds['ours']):.1f} photos/s")
    for name in ("batch 1", "batch 8"):
        ratio = statistics.median(ours / theirs for ours, theirs in zip(speeds["ours"], speeds[name], strict=True))
        print(f"BLIP, {name}: {statistics.median(speeds[name]):.2f} photos/s; seesay has {ratio:.0f} times as many")


if __name__ == "__main__":
    main()
