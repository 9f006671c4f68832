"""A recipe -> a bundle: data, vocabulary, features, training, export, in this order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric import Fabric
from rich.console import Console

from seesay.bundle.write import write_bundle
from seesay.config import Recipe
from seesay.config.recipe import parse_part
from seesay.data.boxes import read_boxes
from seesay.data.check import lacking_for_training
from seesay.data.digests import digest_data
from seesay.data.problems import grouped
from seesay.data.readers import read_dataset
from seesay.data.records import CaptionRecord, Dataset, count_captions
from seesay.data.splits import part_of
from seesay.data.tokens import CaptionTokenizer, split_words
from seesay.data.vectors import word_vectors
from seesay.errors import DataError, RecipeError
from seesay.metrics import CiderD, basic_scores, score_captions
from seesay.models.build import build_decoder
from seesay.models.captioner import Captioner
from seesay.models.decoder import Decoder
from seesay.models.encoder import Encoder
from seesay.models.stem import Stem
from seesay.search import BeamOptions
from seesay.training.batches import CaptionBatches
from seesay.training.build import build_objective, search_options
from seesay.training.distill import let_see, open_teachers, soft_targets, teacher_sentences
from seesay.training.finetune import FromPhotos
from seesay.training.generate import generate
from seesay.training.loop import Trainer
from seesay.training.photos import PhotoFiles, Photos, see_photos
from seesay.training.preflight import Ready, preflight
from seesay.training.run import RunFolder, fitting, open_run

DEV_BATCH = 100  # photos searched together


def train(recipe: Recipe, resume: bool = False, console: Console | None = None) -> Path:
    """Train what a recipe says and write its bundle.

    Args:
        recipe: checked by `Recipe.from_dict` or `load_recipe`.
        resume: go on with the run in `recipe.folder`; afresh where nothing was saved yet.
        console: for progress; default standard error.

    Returns:
        The bundle's folder, `recipe.folder/bundle`.

    Raises:
        RecipeError, DataError, RunError: before any training.
        BusyError: another process trains into the folder.
        StoppedError: by Ctrl-C, everything saved.
    """
    console = console or Console(stderr=True)
    torch.manual_seed(recipe.seed)
    fabric = _devices(recipe)
    ready = preflight(recipe)
    fabric.launch()
    console.quiet = console.quiet or not fabric.is_global_zero
    with open_run(recipe, resume, fabric) as run:
        return _train(recipe, resume, run, fabric, ready, console)


def _train(recipe: Recipe, resume: bool, run: RunFolder, fabric: Fabric, ready: Ready, console: Console) -> Path:
    encoder, stem, initial = ready
    dataset = read_data(recipe, console)
    if lacking := lacking_for_training(dataset.counts()):
        raise DataError(f"{', '.join(recipe.data.path)}: {lacking}")
    training, dev = training_part(recipe, dataset.split("train")), dataset.split("dev")
    run.keep_data(digest_data(training, dev))
    decoder, tokenizer = initial[1:] if initial else fresh_parts(recipe, encoder, training, console)
    teachers = open_teachers(recipe.train.teachers, tokenizer)
    train_photos, dev_photos = see_photos(recipe, encoder, stem, training, dev, fabric.device, console)
    describe(training, dev, tokenizer, encoder, decoder, fabric.device, console)
    run.keep_vocabulary(tokenizer.to_json())
    captions = [[tokenizer.encode(caption) for caption in r.captions] for r in train_photos.records]
    search = search_options(recipe, tokenizer)
    seen = [let_see(teacher, train_photos.records, fabric.device, console) for teacher in teachers]
    if recipe.train.teacher_sentences:
        wide = replace(search, beam=recipe.train.teacher_sentences)
        written = teacher_sentences(seen[0], wide, fabric.device, console)
        captions = [own + more for own, more in zip(captions, written, strict=True)]
    batches = CaptionBatches(
        train_photos.features,
        captions,
        recipe.train.batch_size,
        recipe.tokens.max_words,
        recipe.seed,
        recipe.train.consensus,
        train_photos.crop if recipe.train.grounding else None,
    )
    soft = soft_targets(seen, batches, fabric.device, console) if seen else None
    del teachers, seen
    objective = build_objective(recipe, decoder, tokenizer, train_photos.records, soft)
    if isinstance(train_photos.features, PhotoFiles) or recipe.encoder.finetune != "none":
        from_scratch = recipe.encoder.finetune == "all" and recipe.encoder.weights == "none" and not initial
        objective = FromPhotos(encoder, objective, stem, train_norms=from_scratch)
    captioner = Captioner(encoder, decoder)
    judge = DevJudge(captioner, tokenizer, dev_photos, search, fabric.device, stem)
    trainer = Trainer(recipe, run, fabric, objective, batches, judge, console)
    if resume:
        trainer.resume()
    trainer.fit()

    fabric.barrier()
    if not fabric.is_global_zero:
        return run.bundle
    with fitting(run.best):
        objective.load_state_dict(run.load_best())
    return write_bundle(run.bundle, recipe, captioner, tokenizer, search, judge.scores)


def fresh_parts(
    recipe: Recipe, encoder: Encoder, training: list[CaptionRecord], console: Console
) -> tuple[Decoder, CaptionTokenizer]:
    """A decoder that has learnt nothing yet, and the vocabulary of the training captions."""
    tokenizer = CaptionTokenizer.build(
        (c for r in training for c in r.captions), recipe.tokens.min_count, recipe.tokens.kind, recipe.tokens.vocab_size
    )
    table = embedding_table(recipe, tokenizer, training, console)
    return build_decoder(recipe, encoder, len(tokenizer), table), tokenizer


def _devices(recipe: Recipe) -> Fabric:
    try:
        return Fabric(
            accelerator="auto",
            devices=recipe.train.devices,
            num_nodes=recipe.train.nodes,
            precision=precision_for(recipe.train.precision),  # pyright: ignore[reportArgumentType]
        )
    except Exception as error:  # Lightning's errors have no common class
        raise RecipeError(f"train.devices={recipe.train.devices}: not on this machine: {error}") from error


def precision_for(asked: str) -> str:
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
    dataset = read_dataset(
        list(recipe.data.path),
        recipe.data.layout,
        recipe.data.splits,
        recipe.data.limit,
        recipe.seed,
        recipe.data.columns,
        console=console,
    )
    if recipe.data.boxes:
        dataset = read_boxes(recipe.data.boxes, dataset)
    problems = grouped(dataset.problems)
    for problem in problems[:10]:
        console.print(problem, highlight=False, markup=False, soft_wrap=True)
    if len(problems) > 10:
        console.print(
            f"... and {len(problems) - 10:,} more; `seesay data check` lists all",
            highlight=False,
            soft_wrap=True,
        )
    return dataset


def training_part(recipe: Recipe, training: list[CaptionRecord]) -> list[CaptionRecord]:
    """What `data.only` or `data.leave_out` asks for, checked by preflight. Raises DataError: that is no photo."""
    for asked, left_out in ((recipe.data.only, False), (recipe.data.leave_out, True)):
        part = parse_part(asked) if asked else None
        if part is not None:
            return part_of(training, *part, left_out)
    return training


def embedding_table(
    recipe: Recipe, tokenizer: CaptionTokenizer, training: list[CaptionRecord], console: Console
) -> np.ndarray | None:
    """Where the embedding starts, (V, m), with how much of the vocabulary it covers said in a line; None: at random."""
    kind, path, size = recipe.embedding.kind, recipe.embedding.path, recipe.embedding.size
    if kind == "learned":
        return None
    captions = (caption for record in training for caption in record.captions)
    vectors = word_vectors(kind, path, size, tokenizer, captions, recipe.seed)
    unit = "words" if recipe.tokens.kind == "word" else "pieces"
    console.print(vectors.summary(kind, unit), highlight=False, markup=False, soft_wrap=True)
    return vectors.table


class DevJudge:
    """Generates captions for the dev photos and scores the text, as whoever uses the model would see it.

    Args:
        captioner: as it is trained; weights are taken as they are when called.
        tokenizer: ids -> text.
        dev: photos with references.
        search: as the bundle will search.
        device: where the captioner is.
        stem: of its encoder, where features of the dev photos are kept.
    """

    def __init__(
        self,
        captioner: Captioner,
        tokenizer: CaptionTokenizer,
        dev: Photos,
        search: BeamOptions,
        device: torch.device,
        stem: Stem | None = None,
    ) -> None:
        self.captioner, self.tokenizer, self.dev, self.search, self.device = captioner, tokenizer, dev, search, device
        self.stem = stem
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
        for memory in self._memories():
            best = [beams[0] for beams in generate(self.captioner.decoder, memory, self.search)]
            found += [self.tokenizer.decode(hypothesis.tokens) for hypothesis in best]
        return found

    @torch.inference_mode()
    def _memories(self) -> Iterator[Any]:
        """What the decoder keeps of the dev photos, some at a time."""
        numbers, features = np.arange(len(self.dev.records)), self.dev.features
        groups = [numbers[start : start + DEV_BATCH] for start in range(0, len(numbers), DEV_BATCH)]
        if isinstance(features, PhotoFiles):
            for images in features.read(groups):
                yield self.captioner.prepare(torch.from_numpy(images).to(self.device))
            return
        for group in groups:
            regions = torch.from_numpy(features.take(group).astype(np.float32)).to(self.device)
            yield self.captioner.decoder.prepare(self.stem.finish(regions) if self.stem else regions)

    def scores(self, captioner: Captioner) -> dict[str, Any]:
        """Figures of a captioner's dev captions, official ones where the extra `eval` is installed."""
        self.captioner = captioner.eval().to(self.device)
        self.stem = Stem(captioner.encoder, self.stem.links) if self.stem else None
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
    tuned = sum(p.numel() for p in encoder.parameters() if p.requires_grad) / 1e6
    trained = f"{tuned:.1f} M trained" if tuned else "frozen"
    console.print(
        f"{len(training):,} training photos with {count_captions(training):,} captions, {len(dev):,} dev photos, "
        f"{len(tokenizer):,} tokens\n{encoder.name} {encoder.grid[0]}x{encoder.grid[1]}x{encoder.depth}, "
        f"{sizes[0]:.1f} M weights ({trained}); decoder {sizes[1]:.1f} M; on {device}",
        highlight=False,
        soft_wrap=True,
    )
