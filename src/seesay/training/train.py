"""From a recipe to a bundle: data, vocabulary, features, training, export, in this order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from lightning.fabric import Fabric
from rich.console import Console

from seesay.config import Recipe
from seesay.config.rules import BOXED, parse_part
from seesay.data.boxes import read_boxes
from seesay.data.check import lacking_for_training
from seesay.data.digests import digest_data
from seesay.data.problems import grouped
from seesay.data.readers import read_dataset, read_photos_in_place
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
from seesay.models.regions import without_finer
from seesay.progress import print_plain
from seesay.training.inputs.batches import CaptionBatches
from seesay.training.inputs.photos import PhotoFiles, Photos, load_features
from seesay.training.loop import Trainer
from seesay.training.objectives.distillation import (
    SoftTargets,
    Teacher,
    open_teachers,
    soft_targets,
    teacher_sentences,
)
from seesay.training.objectives.from_recipe import build_objective, search_options
from seesay.training.objectives.with_encoder import WithEncoder
from seesay.training.preflight import Prepared, preflight
from seesay.training.processes import ending_together
from seesay.training.run_folder import RunFolder, checkpoint_errors, open_run
from seesay.training.validate import Validator


def train(recipe: Recipe, resume: bool = False, console: Console | None = None) -> Path:
    """Train the model of a recipe and write its bundle.

    Args:
        recipe: from `Recipe.from_dict` or `load_recipe`.
        resume: continue the run in `recipe.folder`; a run without a checkpoint starts from its
            beginning.
        console: for progress; default: standard error.

    Returns:
        The bundle's folder, `recipe.folder/bundle`.

    Raises:
        RecipeError, DataError, RunError: recipe, data or folder cannot be used; before any
            training.
        BusyError: another process trains into the folder.
        StoppedError: stopped by Ctrl-C or a signal; everything is saved.
    """
    console = console or Console(stderr=True)
    torch.manual_seed(recipe.seed)
    fabric = devices_of(recipe)
    prepared = preflight(recipe)
    fabric.launch()
    console.quiet = console.quiet or not fabric.is_global_zero
    with ending_together(), open_run(recipe, resume, fabric) as run:
        return _train(recipe, resume, run, fabric, prepared, console)


def _train(
    recipe: Recipe,
    resume: bool,
    run: RunFolder,
    fabric: Fabric,
    prepared: Prepared,
    console: Console,
) -> Path:
    encoder, frozen, start = prepared
    training, dev = read_splits(recipe, console)
    run.save_data_digests(digest_data(training, dev))
    if start:
        decoder, tokenizer = start.decoder, start.tokenizer
    else:
        decoder, tokenizer = fresh_decoder(recipe, encoder, training, console)
    teachers = open_teachers(recipe.train.teachers, tokenizer) if recipe.train.epochs else []
    photos, dev_photos = load_features(recipe, encoder, frozen, training, dev, fabric.device, console)
    print_sizes(training, dev, tokenizer, encoder, decoder, fabric.device, console)
    run.save_vocabulary(tokenizer.to_json())
    batches, soft = training_batches(recipe, tokenizer, photos, teachers, fabric.device, console)
    del teachers  # they take memory
    objective = build_objective(recipe, decoder, tokenizer, photos.records, soft)
    if isinstance(photos.features, PhotoFiles) or recipe.encoder.finetune != "none":
        finetune, weights = recipe.encoder.finetune, recipe.encoder.weights
        from_scratch = finetune == "all" and weights == "none" and not start
        objective = WithEncoder(encoder, objective, frozen, train_norms=from_scratch)
    captioner, search = Captioner(encoder, decoder), search_options(recipe, tokenizer)
    validator = Validator(captioner, tokenizer, dev_photos, search, fabric.device, frozen)
    trainer = Trainer(recipe, run, fabric, objective, batches, validator, console)
    if resume:
        trainer.resume()
    trainer.fit()

    fabric.barrier()
    if not fabric.is_global_zero:
        return run.bundle
    with checkpoint_errors(run.best):
        objective.load_state_dict(run.load_best())
    return write_bundle(run.bundle, recipe, captioner, tokenizer, search, validator.scores)


def read_splits(recipe: Recipe, console: Console) -> tuple[list[CaptionRecord], list[CaptionRecord]]:
    """The records to train on, and those of the dev split.

    Raises:
        DataError: one of them is empty.
    """
    dataset = read_data(recipe, console)
    if lacking := lacking_for_training(dataset.counts()):
        raise DataError(f"{', '.join(recipe.data.path)}: {lacking}")
    return training_part(recipe, dataset.split("train")), dataset.split("dev")


def training_batches(
    recipe: Recipe,
    tokenizer: CaptionTokenizer,
    photos: Photos,
    captioners: Sequence[Captioner],
    device: torch.device,
    console: Console,
) -> tuple[CaptionBatches, SoftTargets | None]:
    """The batches of the training photos, and the teachers' distributions for their words.

    Args:
        recipe: batch size, weights of captions, and what the teachers are used for.
        tokenizer: splits the captions.
        photos: the photos of the training split.
        captioners: the models of `train.teachers`; without any, the distributions are None.
        device: for the teachers.
        console: for progress.
    """
    captions = [[tokenizer.encode(text) for text in record.captions] for record in photos.records]
    teachers = [Teacher.with_features(model, photos.records, device, console) for model in captioners]
    if teachers and (number := recipe.train.teacher_sentences):
        options = replace(search_options(recipe, tokenizer), beam=number)
        sentences = teacher_sentences(teachers[0], options, device, console)
        captions = [human + generated for human, generated in zip(captions, sentences, strict=True)]
    batches = CaptionBatches(
        photos.features,
        captions,
        recipe.train.batch_size,
        recipe.tokens.max_words,
        recipe.seed,
        recipe.train.consensus,
        photos.crop if recipe.train.grounding else None,
    )
    return batches, soft_targets(teachers, batches, device, console) if teachers else None


def fresh_decoder(
    recipe: Recipe, encoder: Encoder, training: list[CaptionRecord], console: Console
) -> tuple[Decoder, CaptionTokenizer]:
    """An untrained decoder, and the vocabulary of the training captions."""
    tokenizer = CaptionTokenizer.build(
        (c for r in training for c in r.captions), recipe.tokens.min_count, recipe.tokens.kind, recipe.tokens.vocab_size
    )
    table = embedding_table(recipe, tokenizer, training, console)
    return build_decoder(recipe, encoder, len(tokenizer), table), tokenizer


def devices_of(recipe: Recipe) -> Fabric:
    """The devices that a recipe asks for. Raises RecipeError: this machine has not got them."""
    try:
        return Fabric(
            accelerator="auto",
            devices=recipe.train.devices,
            num_nodes=recipe.train.nodes,
            precision=precision_for(recipe.train.precision),  # pyright: ignore[reportArgumentType]
        )
    except Exception as error:  # Lightning's errors have no common class
        raise RecipeError(f"train.devices={recipe.train.devices}: not on this machine: {error}") from error


def precision_for(precision: str) -> str:
    """Resolve "auto": bfloat16 where the hardware supports it natively, else float32."""
    if precision != "auto":
        return precision
    if torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    if torch.backends.mps.is_available():
        return "32-true"
    return "bf16-mixed" if torch.cpu.get_capabilities().get("avx512_bf16", False) else "32-true"


def read_data(recipe: Recipe, console: Console) -> Dataset:
    """Read a recipe's data set and print the problems found, one line per kind."""
    dataset = read_dataset(
        list(recipe.data.path),
        recipe.data.layout,
        recipe.data.splits,
        recipe.data.limit,
        recipe.seed,
        recipe.data.columns,
        unpacked=recipe.data.unpack,
        console=console,
    )
    if not recipe.data.unpack:
        dataset = read_photos_in_place(dataset, console)
    if recipe.data.boxes:
        dataset = read_boxes(recipe.data.boxes, dataset)
    problems = grouped(dataset.problems)
    for problem in problems[:10]:
        print_plain(console, problem)
    if len(problems) > 10:
        print_plain(
            console,
            f"... and {len(problems) - 10:,} more; `seesay data check` lists all",
        )
    return dataset


def training_part(recipe: Recipe, training: list[CaptionRecord]) -> list[CaptionRecord]:
    """The training photos that `data.only` or `data.leave_out` selects.

    Raises:
        DataError: no photo is left.
    """
    if recipe.data.only == BOXED:
        if not (boxed := [record for record in training if record.objects]):
            number = f"{len(training):,}"
            raise DataError(f"data.only={BOXED}: none of the {number} training photos has boxes; look at data.boxes")
        return boxed
    for text, left_out in ((recipe.data.only, False), (recipe.data.leave_out, True)):
        part = parse_part(text) if text else None
        if part is not None:
            return part_of(training, *part, left_out)
    return training


def embedding_table(
    recipe: Recipe, tokenizer: CaptionTokenizer, training: list[CaptionRecord], console: Console
) -> np.ndarray | None:
    """The initial word vectors, (V, m), or None for random ones.

    Prints how much of the vocabulary has a pretrained vector.
    """
    kind, path, size = recipe.embedding.kind, recipe.embedding.path, recipe.embedding.size
    if kind == "learned":
        return None
    captions = (caption for record in training for caption in record.captions)
    vectors = word_vectors(kind, path, size, tokenizer, captions, recipe.seed)
    unit = "words" if recipe.tokens.kind == "word" else "pieces"
    print_plain(console, vectors.summary(kind, unit))
    return vectors.table


def print_sizes(
    training: list[CaptionRecord],
    dev: list[CaptionRecord],
    tokenizer: CaptionTokenizer,
    encoder: Encoder,
    decoder: Decoder,
    device: torch.device,
    console: Console,
) -> None:
    """Print the sizes of data and model, in two lines."""
    sizes = [sum(p.numel() for p in module.parameters()) / 1e6 for module in (encoder, decoder)]
    trained = sum(p.numel() for p in encoder.parameters() if p.requires_grad) / 1e6
    mode = f"{trained:.1f} M trained" if trained else "frozen"
    print_plain(
        console,
        f"{len(training):,} training photos with {count_captions(training):,} captions, {len(dev):,} dev photos, "
        f"{len(tokenizer):,} tokens\n{encoder.name} {_regions(encoder, decoder)}, "
        f"{sizes[0]:.1f} M weights ({mode}); decoder {sizes[1]:.1f} M; on {device}",
    )


def _regions(encoder: Encoder, decoder: Decoder) -> str:
    """The grids and their channels, as rows x cols x channels."""
    finer = encoder.finer_depth
    coarse = f"{encoder.grid[0]}x{encoder.grid[1]}x{without_finer(encoder.depth, finer)}"
    return f"{coarse}, finer {decoder.grid[0]}x{decoder.grid[1]}x{finer}" if finer else coarse
