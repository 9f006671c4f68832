"""A recipe -> a bundle: data, vocabulary, features, training, export, in this order."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from lightning.fabric import Fabric
from rich.console import Console

from seesay.config import Recipe
from seesay.config.rules import parse_part
from seesay.data.boxes import read_boxes
from seesay.data.check import lacking_for_training
from seesay.data.digests import digest_data
from seesay.data.problems import grouped
from seesay.data.readers import read_dataset
from seesay.data.records import CaptionRecord, Dataset, count_captions
from seesay.data.splits import part_of
from seesay.data.tokens import CaptionTokenizer
from seesay.data.vectors import word_vectors
from seesay.errors import DataError, RecipeError
from seesay.export.write import write_bundle
from seesay.models.build import build_decoder
from seesay.models.captioner import Captioner
from seesay.models.decoder import Decoder
from seesay.models.encoder import Encoder
from seesay.training.inputs.batches import CaptionBatches
from seesay.training.inputs.photos import PhotoFiles, see_photos
from seesay.training.loop import Trainer
from seesay.training.objectives.distillation import let_see, open_teachers, soft_targets, teacher_sentences
from seesay.training.objectives.from_photos import FromPhotos
from seesay.training.objectives.from_recipe import build_objective, search_options
from seesay.training.preflight import Ready, preflight
from seesay.training.run_folder import RunFolder, fitting, open_run
from seesay.training.validate import Validator


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
    encoder, frozen, initial = ready
    dataset = read_data(recipe, console)
    if lacking := lacking_for_training(dataset.counts()):
        raise DataError(f"{', '.join(recipe.data.path)}: {lacking}")
    training, dev = training_part(recipe, dataset.split("train")), dataset.split("dev")
    run.keep_data(digest_data(training, dev))
    decoder, tokenizer = initial[1:] if initial else fresh_parts(recipe, encoder, training, console)
    teachers = open_teachers(recipe.train.teachers, tokenizer)
    train_photos, dev_photos = see_photos(recipe, encoder, frozen, training, dev, fabric.device, console)
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
        objective = FromPhotos(encoder, objective, frozen, train_norms=from_scratch)
    captioner = Captioner(encoder, decoder)
    judge = Validator(captioner, tokenizer, dev_photos, search, fabric.device, frozen)
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
