"""Learning from what trained models think of every next word, besides from the word itself (`train.teachers`)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn

from seesay.bundle.format import open_bundle
from seesay.bundle.names import find_bundle
from seesay.data.feature_cache import PhotoFeatures
from seesay.data.records import CaptionRecord
from seesay.data.tokens import NEVER_WRITTEN, PAD, UNK, CaptionTokenizer
from seesay.errors import DataError, RecipeError
from seesay.export.load import load_captioner
from seesay.models.captioner import Captioner
from seesay.models.decoder import Decoded, Decoder
from seesay.models.frozen import FrozenPart
from seesay.progress import progress
from seesay.search import BeamOptions
from seesay.training.generate import beam_sentences
from seesay.training.inputs.batches import CaptionBatch, CaptionBatches
from seesay.training.inputs.photos import encode_photos
from seesay.training.objectives.cross_entropy import CrossEntropy

SEARCHED = 100  # photos searched together
LIKELIEST = 32  # words of which the shares are kept; the rest, mostly the teachers' label smoothing, is shared out


class Teacher(NamedTuple):
    """A trained decoder, and what its own encoder saw of the training photos."""

    decoder: Decoder
    features: PhotoFeatures


class SoftTargets:
    """The teachers' mean distribution at every real word of the training captions.

    Args:
        ids: (N, LIKELIEST) tokens, photo after photo, their captions in the order of `CaptionBatches`.
        shares: (N, LIKELIEST) of the probability, rows summing to 1.
        start: where each photo's words begin, and where the last one's end.
    """

    def __init__(self, ids: np.ndarray, shares: np.ndarray, start: Sequence[int]) -> None:
        self.ids, self.shares, self.start = ids, shares, start

    def of(self, photos: Tensor) -> tuple[Tensor, Tensor]:
        """Ids and shares of all real words of the photos with these numbers, in the order of a batch of them."""
        rows = _rows(self.start, photos.tolist())
        ids, shares = torch.from_numpy(self.ids[rows].astype(np.int64)), torch.from_numpy(self.shares[rows])
        return ids.to(photos.device), shares.to(photos.device).float()


class Distillation(CrossEntropy):
    """Cross-entropy with the real words, and with what an ensemble thinks of them (https://arxiv.org/abs/1503.02531).

        L = (1 - d) L_cross_entropy  -  d / N sum over words ( sum_v q(v | words before, photo) log p(v | ...) )

    q is the mean of the teachers' distributions after the real words before, each on the photo as its own encoder sees
    it, unchanged; so one model learns what several agree on, at the price of one. N counts the batch's real words,
    unknown ones too: they are never asked for, but what else could stand there is known.

    Args:
        decoder: what is trained.
        soft: q.
        weight: d, 0 to 1.
        options: of `CrossEntropy`.
    """

    def __init__(self, decoder: Decoder, soft: SoftTargets, weight: float, **options: Any) -> None:
        super().__init__(decoder, **options)
        self.soft = soft
        self.weight = weight

    def word_loss(self, decoded: Decoded, batch: CaptionBatch) -> Tensor:
        """See the class."""
        real = batch.targets != PAD
        logits = self.decoder.logits(decoded.hidden[real]).float()
        hard = nn.functional.cross_entropy(
            logits, batch.targets[real], ignore_index=UNK, label_smoothing=self.label_smoothing
        )
        ids, shares = self.soft.of(batch.photos)
        soft = -(shares * logits.log_softmax(dim=-1).gather(1, ids)).sum(dim=1).mean()
        return (1 - self.weight) * hard + self.weight * soft


def open_teachers(names: Sequence[str], tokenizer: CaptionTokenizer) -> list[Captioner]:
    """The models of bundles.

    Args:
        names: folders, or names of packaged models.
        tokenizer: of the model that is to learn.

    Raises:
        BundleError: no bundle there, or a damaged one.
        RecipeError: a teacher has another vocabulary.
    """
    bundles = [open_bundle(find_bundle(name)) for name in names]
    for name, bundle in zip(names, bundles, strict=True):
        if bundle.tokenizer.to_json() != tokenizer.to_json():
            raise RecipeError(
                f"train.teachers={name}: has another vocabulary ({len(bundle.tokenizer):,} tokens, this run "
                f"{len(tokenizer):,}); a teacher is trained on the same captions with the same tokens keys"
            )
    return [load_captioner(bundle).eval() for bundle in bundles]


def let_see(captioner: Captioner, records: Sequence[CaptionRecord], device: torch.device, console: Console) -> Teacher:
    """A teacher with the features of the photos by its own encoder, encoded where that was never done.

    Args:
        captioner: in eval mode.
        records: the training photos, all readable.
        device: of the decoder.
        console: for progress.

    Raises:
        DataError: a photo can no longer be read, or the disk has no room for the features.
    """
    frozen = FrozenPart(captioner.encoder.requires_grad_(False))
    (seen,) = encode_photos(frozen, [list(records)], device, console)
    if len(seen.records) < len(records):
        raise DataError(f"{len(records) - len(seen.records)} photos can no longer be read; they were a moment ago")
    assert isinstance(seen.features, PhotoFeatures)
    return Teacher(captioner.decoder.to(device), seen.features)


def teacher_sentences(
    teacher: Teacher, search: BeamOptions, device: torch.device, console: Console
) -> list[list[list[int]]]:
    """What a teacher writes of each photo, for a student to learn beside the photo's own captions.

    Sequence-level distillation (Kim and Rush 2016, https://arxiv.org/abs/1606.07947): the student learns
    the teacher's distributions where its own sentences will lead it.

    Args:
        teacher: in eval mode.
        search: as many sentences a photo as its beam is wide, fewer where some are equal.
        device: of the decoder.
        console: for progress.

    Returns:
        For each photo its sentences' ids, without start and end.
    """
    photos, found = np.arange(len(teacher.features.place)), []
    with progress("teacher's sentences", len(photos), console) as advance:
        for first in range(0, len(photos), SEARCHED):
            group = photos[first : first + SEARCHED]
            regions = torch.from_numpy(teacher.features.take(group).astype(np.float32)).to(device)
            with torch.inference_mode():
                written = beam_sentences(teacher.decoder, teacher.decoder.prepare(regions), search)
            for tokens, lengths in zip(written.tokens.tolist(), written.lengths.tolist(), strict=True):
                sentences = (tuple(ids[: n - 1]) for ids, n in zip(tokens, lengths, strict=True))
                found.append([list(ids) for ids in dict.fromkeys(sentences)])
            advance(len(group))
    return found


def soft_targets(
    teachers: Sequence[Teacher], batches: CaptionBatches, device: torch.device, console: Console
) -> SoftTargets:
    """Ask every teacher for every next word of the training captions, once.

    Args:
        teachers: in eval mode.
        batches: of the training captions, whose photos are numbered as the teachers' features are.
        device: of the decoders.
        console: for progress.
    """
    start = [0, *accumulate(sum(map(len, photo)) for photo in batches.captions)]
    vocab = teachers[0].decoder.embedding.weight.shape[0]
    size = min(LIKELIEST, vocab)
    ids, shares = np.zeros((start[-1], size), np.min_scalar_type(vocab)), np.zeros((start[-1], size), np.float16)
    with progress("asking the teachers", len(batches.photos), console) as advance:
        for first in range(0, len(batches.photos), batches.batch_size):
            photos = batches.photos[first : first + batches.batch_size]
            likeliest = _mean_distribution(teachers, batches.words(photos), photos, device).topk(size, dim=-1)
            rows = _rows(start, photos.tolist())
            ids[rows] = likeliest.indices.cpu().numpy()
            shares[rows] = (likeliest.values / likeliest.values.sum(dim=-1, keepdim=True)).cpu().numpy()
            advance(len(photos))
    return SoftTargets(ids, shares, start)


def _rows(start: Sequence[int], photos: Sequence[int]) -> np.ndarray:
    """The places of all words of these photos."""
    return np.concatenate([np.arange(start[photo], start[photo + 1]) for photo in photos])


@torch.inference_mode()
def _mean_distribution(
    teachers: Sequence[Teacher], words: tuple[Tensor, ...], photos: np.ndarray, device: torch.device
) -> Tensor:
    """(real words, V), rows summing to 1."""
    inputs, targets, lengths = (part.to(device) for part in words[:3])
    never = torch.tensor(NEVER_WRITTEN, device=device)
    total = torch.zeros((), device=device)
    for decoder, features in teachers:
        regions = torch.from_numpy(features.take(photos).astype(np.float32)).to(device)
        decoded = decoder(inputs, lengths, decoder.prepare(regions))
        logits = decoder.logits(decoded.hidden[targets != PAD]).float()
        total = total + logits.index_fill(1, never, -torch.inf).softmax(dim=-1)
    return total / len(teachers)
