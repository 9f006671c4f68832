"""A recipe -> a bundle: data, vocabulary, features, training, export, in this order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric import Fabric
from rich.console import Console

from seesay.bundle.write import write_bundle
from seesay.config import Recipe
from seesay.data.check import refuse_if_too_many_unreadable
from seesay.data.features import PhotoFeatures, digest_photos
from seesay.data.readers import read_dataset
from seesay.data.records import CaptionRecord, Dataset, count_captions
from seesay.data.tokens import CaptionTokenizer, split_words
from seesay.errors import RecipeError
from seesay.metrics import CiderD, basic_scores, score_captions
from seesay.models.build import build_decoder
from seesay.models.captioner import Captioner
from seesay.models.decoder import Decoder
from seesay.models.encoder import Encoder, load_encoder
from seesay.progress import progress
from seesay.search import SearchOptions
from seesay.training.batches import CaptionBatches
from seesay.training.build import build_objective
from seesay.training.features import cached_features, feature_cache
from seesay.training.generate import generate
from seesay.training.init import open_initial
from seesay.training.loop import Trainer
from seesay.training.run import RunFolder

DEV_BATCH = 100  # photos searched together


@dataclass(frozen=True)
class Photos:
    """Records of a split whose photos were readable, with their features."""

    records: list[CaptionRecord]
    features: PhotoFeatures


def train(recipe: Recipe, resume: bool = False, console: Console | None = None) -> Path:
    """Train what a recipe says and write its bundle.

    Args:
        recipe: checked by `Recipe.from_dict` or `load_recipe`.
        resume: go on with the run in `recipe.folder`; afresh where nothing was saved yet.
        console: for progress; default standard error.

    Returns:
        The bundle's folder, `recipe.folder/bundle`.

    Raises:
        RecipeError, DataError: before any training.
        StoppedError: by Ctrl-C, everything saved.
    """
    console = console or Console(stderr=True)
    fabric = Fabric(
        accelerator="auto",
        devices=recipe.train.devices,
        num_nodes=recipe.train.nodes,
        precision=_precision(recipe.train.precision),  # pyright: ignore[reportArgumentType]
    )
    fabric.launch()
    run = RunFolder(recipe, resume, writes=fabric.is_global_zero)
    console.quiet = console.quiet or not fabric.is_global_zero
    torch.manual_seed(recipe.seed)

    initial = open_initial(recipe)
    dataset = read_data(recipe, console)
    training, dev = dataset.split("train"), dataset.split("dev")
    if initial:
        tokenizer, encoder = initial.tokenizer, initial.encoder
    else:
        tokenizer = CaptionTokenizer.build((c for r in training for c in r.captions), recipe.tokens.min_count)
        encoder = load_encoder(recipe.encoder.name, recipe.encoder.weights, recipe.images.size)
    train_photos, dev_photos = encode_photos(encoder, [training, dev], fabric.device, console)

    decoder = initial.decoder if initial else build_decoder(recipe, encoder, len(tokenizer))
    describe(training, dev, tokenizer, encoder, decoder, fabric.device, console)
    captions = [[tokenizer.encode(caption) for caption in r.captions] for r in train_photos.records]
    batches = CaptionBatches(
        train_photos.features, captions, recipe.train.batch_size, recipe.tokens.max_words, recipe.seed
    )
    objective = build_objective(recipe, decoder, tokenizer, train_photos.records)
    search = SearchOptions(max_words=recipe.tokens.max_words, **vars(recipe.search))
    judge = DevJudge(decoder, tokenizer, dev_photos, search, fabric.device)
    trainer = Trainer(recipe, run, fabric, objective, batches, judge, console)
    if resume:
        trainer.resume()
    trainer.fit()

    fabric.barrier()
    objective.load_state_dict(run.load_best())
    if not fabric.is_global_zero:
        return run.bundle
    return write_bundle(run.bundle, recipe, Captioner(encoder, decoder), tokenizer, search, judge.scores)


def _precision(asked: str) -> str:
    """What "auto" means here: bfloat16 products where the hardware has them (twice as fast, or more)."""
    if asked != "auto":
        return asked
    if torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    if torch.backends.mps.is_available():
        return "32-true"
    return "bf16-mixed" if torch.cpu.get_capabilities().get("avx512_bf16", False) else "32-true"


def read_data(recipe: Recipe, console: Console) -> Dataset:
    """The data set of a recipe, with what was found while reading it said in a line each kind."""
    if not recipe.data.path and recipe.data.layout != "shapes":  # that one makes its own
        raise RecipeError("data.path is not set: add data.path=FOLDER")
    dataset = read_dataset(
        list(recipe.data.path), recipe.data.layout, recipe.data.splits, recipe.data.limit, recipe.seed
    )
    for problem in dataset.problems[:10]:
        console.print(str(problem), highlight=False, markup=False, soft_wrap=True)
    if len(dataset.problems) > 10:
        console.print(
            f"... and {len(dataset.problems) - 10:,} more; `seesay data check` lists all",
            highlight=False,
            soft_wrap=True,
        )
    return dataset


def encode_photos(
    encoder: Encoder, splits: Sequence[list[CaptionRecord]], device: torch.device, console: Console
) -> list[Photos]:
    """Features of every split; photos that cannot be read are left out, if they are few.

    Raises:
        DataError: more than a tenth of the photos cannot be read, or the disk has no room.
    """
    photos = [record.image for records in splits for record in records]
    cache = feature_cache(encoder)
    digests = digest_photos(photos)
    missing = len(cache.missing(digests))
    if missing:
        size = missing * cache.row_bytes / 1e9
        console.print(
            f"encoding {missing:,} photos once; their features take {size:.2f} GB in {cache.folder}", soft_wrap=True
        )
    with progress("encoding photos", missing, console) as advance:
        features = cached_features(encoder, photos, device, advance=advance, digests=digests)
    refuse_if_too_many_unreadable(features.problems, len(photos))
    for problem in features.problems:
        console.print(f"left out: {problem}", highlight=False, markup=False, soft_wrap=True)
    result, start = [], 0
    for records in splits:
        place = features.place[start : start + len(records)]
        kept = [record for record, row in zip(records, place, strict=True) if row >= 0]
        result.append(Photos(kept, PhotoFeatures(features.rows, place[place >= 0], features.grid, ())))
        start += len(records)
    return result


class DevJudge:
    """Generates captions for the dev photos and scores the text, as whoever uses the model would see it.

    Args:
        decoder: as it is trained; weights are taken as they are when called.
        tokenizer: ids -> text.
        dev: photos with references.
        search: as the bundle will search.
        device: where the decoder is.
    """

    def __init__(
        self,
        decoder: Decoder,
        tokenizer: CaptionTokenizer,
        dev: Photos,
        search: SearchOptions,
        device: torch.device,
    ) -> None:
        self.decoder, self.tokenizer, self.dev, self.search, self.device = decoder, tokenizer, dev, search, device
        self.references = [[split_words(caption) for caption in record.captions] for record in dev.records]
        self.cider = CiderD(self.references)

    def __call__(self) -> tuple[dict[str, float], list[str]]:
        """(CIDEr-D and BLEU-4 of generated captions, three sample captions); tokens as `split_words` has them."""
        captions = self.captions()
        words = [split_words(caption) for caption in captions]
        figures = {
            "cider": float(np.mean(self.cider.score(words))),
            "bleu4": basic_scores(words, self.references).bleu[3],
        }
        shown = np.linspace(0, len(captions) - 1, num=min(3, len(captions)), dtype=int)
        return figures, [f"{self.dev.records[i].image.name}: {captions[i]}" for i in shown]

    def captions(self) -> list[str]:
        """The best caption of each dev photo."""
        found: list[str] = []
        for start in range(0, len(self.dev.records), DEV_BATCH):
            photos = np.arange(start, min(start + DEV_BATCH, len(self.dev.records)))
            regions = torch.from_numpy(self.dev.features.take(photos).astype(np.float32)).to(self.device)
            with torch.inference_mode():
                memory = self.decoder.prepare(regions)
            best = [beams[0] for beams in generate(self.decoder, memory, self.search)]
            found += [self.tokenizer.decode(hypothesis.tokens) for hypothesis in best]
        return found

    def scores(self, captioner: Captioner) -> dict[str, Any]:
        """Figures of a captioner's dev captions, official ones where the extra `eval` is installed."""
        self.decoder = captioner.decoder.eval().to(self.device)
        hypotheses = {r.id: caption for r, caption in zip(self.dev.records, self.captions(), strict=True)}
        references = {r.id: list(r.captions) for r in self.dev.records}
        return {"dev": score_captions(hypotheses, references, split_words).to_dict()}


def describe(
    training: list[CaptionRecord],
    dev: list[CaptionRecord],
    tokenizer: CaptionTokenizer,
    encoder: Encoder,
    decoder: Decoder,
    device: torch.device,
    console: Console,
) -> None:
    """Say in two lines what is trained on what."""
    sizes = [sum(p.numel() for p in module.parameters()) / 1e6 for module in (encoder, decoder)]
    console.print(
        f"{len(training):,} training photos with {count_captions(training):,} captions, {len(dev):,} dev photos, "
        f"{len(tokenizer):,} words\n{encoder.name} {encoder.grid[0]}x{encoder.grid[1]}x{encoder.depth}, "
        f"{sizes[0]:.1f} M weights (frozen); decoder {sizes[1]:.1f} M; on {device}",
        highlight=False,
        soft_wrap=True,
    )
