"""Compare the speed of training with a common loop: `python scripts/versus_field.py FOLDER`.

FOLDER contains the unchanged `models.py` of
https://github.com/sgrvinod/a-PyTorch-Tutorial-to-Image-Captioning, which is not part of this
repository. Both train in turns on the same random features and captions, with dropout 0.5,
cross-entropy and the doubly stochastic penalty, clipping and Adam (ours AdamW with averaged
weights). Their batches, with a copy of the photo's map for each caption, are prepared before the
measurement; ours within it.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from seesay.bench.timing import interleaved, rates
from seesay.bench.training import VOCABULARY, Training
from seesay.config import load_recipe
from seesay.models.build import build_encoder
from seesay.training.inputs.batches import CaptionBatch


class Field:
    """Their decoder, trained on a batch as their `train.py` does it."""

    def __init__(self, folder: str, ours: Training, depth: int) -> None:
        sys.path.insert(0, folder)
        import models  # pyright: ignore[reportMissingImports]

        models.device = torch.device("cpu")
        recipe = ours.recipe
        sizes = (recipe.attention.size, recipe.embedding.size, recipe.decoder.size, VOCABULARY)
        self.decoder: Any = models.DecoderWithAttention(*sizes, encoder_dim=depth, dropout=recipe.decoder.dropout)
        self.optimizer = torch.optim.Adam(self.decoder.parameters(), lr=4e-4)
        self.batches = [_one_row_a_caption(batch) for batch in islice(ours.batches.epoch(0), ours.steps)]
        self.captions = sum(len(lengths) for _, _, lengths in self.batches)

    def run(self, half: bool) -> None:
        """A step on each batch; `half` computes products in bfloat16."""
        for maps, captions, lengths in self.batches:
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                scores, captions, steps, attention, _ = self.decoder(maps, captions, lengths)
            said, asked = (pack_padded_sequence(x, steps, True).data for x in (scores.float(), captions[:, 1:]))
            penalty = ((1 - attention.float().sum(dim=1)) ** 2).mean()
            loss = nn.functional.cross_entropy(said, asked) + penalty
            self.optimizer.zero_grad()
            loss.backward()
            for weights in self.decoder.parameters():
                weights.grad.clamp_(-5, 5)
            self.optimizer.step()
            loss.item()


def _one_row_a_caption(batch: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Maps (N, side, side, D), captions (N, L + 1), and their numbers of tokens, (N, 1)."""
    assert isinstance(batch, CaptionBatch)
    maps = batch.regions.float().unflatten(1, (round(batch.regions.shape[1] ** 0.5), -1))
    maps = maps.repeat_interleave(batch.inputs.shape[1], dim=0)
    captions = torch.cat([batch.inputs[..., :1], batch.targets], dim=-1).flatten(0, 1)
    lengths = batch.lengths.flatten()
    return maps[lengths > 0], captions[lengths > 0], (lengths[lengths > 0] + 1).unsqueeze(1)


def main() -> None:
    """Print captions per second of both, in seesay's default precision and in float32."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    ours: dict[str, Training] = {}
    for precision in ("auto", "32-true"):
        changes = ["encoder.weights=none", "train.doubly_stochastic=1", "train.label_smoothing=0"]
        recipe = load_recipe("flickr8k", [*changes, f"train.precision={precision}"])
        encoder = build_encoder(recipe)
        ours[f"ours, {precision}"] = Training(recipe, encoder, asked.steps)
    field = Field(asked.folder, ours["ours, auto"], encoder.depth)
    numbers = {name: training.captions for name, training in ours.items()}
    tasks: dict[str, Callable[[], object]] = {name: training.run for name, training in ours.items()}
    for name, half in (("theirs", False), ("theirs, bfloat16", True)):
        numbers[name], tasks[name] = field.captions, partial(field.run, half)
    interleaved(1, **tasks)  # the first allocates
    seconds = interleaved(asked.repeats, **tasks)
    speeds = {name: rates(numbers[name], found) for name, found in seconds.items()}
    for name, found in speeds.items():
        ratio = statistics.median(own / theirs for own, theirs in zip(found, speeds["theirs"], strict=True))
        print(f"{name}: {statistics.median(found):.0f} captions/s, {ratio:.2f} times theirs as it comes")


if __name__ == "__main__":
    main()
