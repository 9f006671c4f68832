"""Knowledge distillation from the word distributions of trained models (`train.teachers`)."""

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
from seesay.training.processes import global_mean

SEARCH_BATCH = 100  # photos searched together
TOP_TOKENS = 32  # per distribution, renormalised; the rest is mostly the teachers' label smoothing


class Teacher(NamedTuple):
    """A trained decoder, and its own encoder's features of the training photos."""

    decoder: Decoder
    features: PhotoFeatures

    @classmethod
    def with_features(
        cls, captioner: Captioner, records: Sequence[CaptionRecord], device: torch.device, console: Console
    ) -> Teacher:
        """A teacher from a captioner; photos without cached features are encoded.

        Args:
            captioner: the teacher, in eval mode.
            records: the training photos, all readable.
            device: for the decoder.
            console: for progress.

        Raises:
            DataError: a photo can no longer be read, or the disk has no room for the features.
        """
        frozen = FrozenPart(captioner.encoder.requires_grad_(False))
        (photos,) = encode_photos(frozen, [list(records)], device, console)
        if unreadable := len(records) - len(photos.records):
            raise DataError(
                f"{unreadable:,} photos that could be read before cannot be read any more; check the "
                "data's folder and start again"
            )
        assert isinstance(photos.features, PhotoFeatures)
        return cls(captioner.decoder.to(device), photos.features)


class SoftTargets:
    """The teachers' mean distribution at each of the N real words of the training captions.

    Args:
        ids: (N, TOP_TOKENS) token ids, photo after photo, each photo's captions in the order of
            `CaptionBatches`.
        shares: (N, TOP_TOKENS) their probabilities, rows summing to 1.
        start: the first row of each photo's words, and last the number of rows.
    """

    def __init__(self, ids: np.ndarray, shares: np.ndarray, start: Sequence[int]) -> None:
        self.ids, self.shares, self.start = ids, shares, start

    def of(self, photos: Tensor) -> tuple[Tensor, Tensor]:
        """Ids and probabilities, (N, TOP_TOKENS) each, for all real words of these photos.

        Args:
            photos: (B,) numbers of photos; the words come in the order of their batch.
        """
        rows = _rows(self.start, photos.tolist())
        ids, shares = torch.from_numpy(self.ids[rows].astype(np.int64)), torch.from_numpy(self.shares[rows])
        return ids.to(photos.device), shares.to(photos.device).float()


class Distillation(CrossEntropy):
    """Cross-entropy with the real words and with the distributions of an ensemble.

    This is knowledge distillation (https://arxiv.org/abs/1503.02531):

        L = (1 - d) L_cross_entropy  -  d / N sum over words ( sum_v q(v | words before, photo) log p(v | ...) )

    q is the mean of the teachers' distributions given the preceding real words and the unaugmented
    photo, which each teacher sees through its own encoder. The result approximates the ensemble at
    the cost of a single model. N counts all real words of the batch: an unknown word is not a
    target of the cross-entropy, but the teachers' distribution at its position is.

    Args:
        decoder: the decoder to train.
        soft: q.
        weight: d, 0 to 1.
        options: further arguments of `CrossEntropy`.
    """

    def __init__(self, decoder: Decoder, soft: SoftTargets, weight: float, **options: Any) -> None:
        super().__init__(decoder, **options)
        self.soft = soft
        self.weight = weight

    def word_loss(self, decoded: Decoded, batch: CaptionBatch) -> Tensor:
        """The weighted mean of both cross-entropies."""
        real = batch.targets != PAD  # (B, K, L)
        logits = self.decoder.logits(decoded.hidden[real]).float()  # (N, V)
        hard = nn.functional.cross_entropy(
            logits, batch.targets[real], ignore_index=UNK, label_smoothing=self.label_smoothing
        )
        ids, shares = self.soft.of(batch.photos)  # (N, TOP_TOKENS) each
        soft = -(shares * logits.log_softmax(dim=-1).gather(1, ids)).sum(dim=1).mean()
        targets = int((batch.targets[real] != UNK).sum())
        hard, soft = global_mean(hard, batch.counts * targets), global_mean(soft, batch.counts * len(logits))
        return (1 - self.weight) * hard + self.weight * soft


def open_teachers(names: Sequence[str], tokenizer: CaptionTokenizer) -> list[Captioner]:
    """Load the teachers.

    Args:
        names: bundles' folders, or packaged models' names.
        tokenizer: the vocabulary of the model that is trained.

    Raises:
        BundleError: no bundle there, or a damaged one.
        RecipeError: a teacher has another vocabulary.
    """
    bundles = [open_bundle(find_bundle(name)) for name in names]
    for name, bundle in zip(names, bundles, strict=True):
        if bundle.tokenizer.to_json() != tokenizer.to_json():
            raise RecipeError(
                f"train.teachers={name}: has another vocabulary ({len(bundle.tokenizer):,} tokens, "
                f"this run {len(tokenizer):,}); give a model that was trained on the same captions "
                "with the same keys of the section tokens"
            )
    return [load_captioner(bundle).eval() for bundle in bundles]


def teacher_sentences(
    teacher: Teacher, search: BeamOptions, device: torch.device, console: Console
) -> list[list[list[int]]]:
    """A teacher's beam-search captions of each photo, which are added to its own captions.

    This is sequence-level distillation (Kim and Rush 2016, https://arxiv.org/abs/1606.07947): the
    student also sees the teacher's distributions after words that a model wrote, not only after
    words that people wrote.

    Args:
        teacher: the model that writes captions, in eval mode.
        search: the beam is the number of captions per photo; equal captions count once.
        device: the device of the decoder.
        console: for progress.

    Returns:
        For each photo the ids of its captions, without start and end.
    """
    photos, captions = np.arange(len(teacher.features.row_numbers)), []
    with progress("teacher's sentences", len(photos), console) as advance:
        for first in range(0, len(photos), SEARCH_BATCH):
            group = photos[first : first + SEARCH_BATCH]
            regions = torch.from_numpy(teacher.features.take(group).astype(np.float32)).to(device)
            with torch.inference_mode():
                sentences = beam_sentences(teacher.decoder, teacher.decoder.prepare(regions), search)
            for tokens, lengths in zip(sentences.tokens.tolist(), sentences.lengths.tolist(), strict=True):
                without_end = (tuple(ids[: n - 1]) for ids, n in zip(tokens, lengths, strict=True))
                captions.append([list(ids) for ids in dict.fromkeys(without_end)])
            advance(len(group))
    return captions


def soft_targets(
    teachers: Sequence[Teacher], batches: CaptionBatches, device: torch.device, console: Console
) -> SoftTargets:
    """Compute the teachers' mean distribution for every word of the training captions, once.

    Args:
        teachers: the models to learn from, in eval mode.
        batches: the training captions; the teachers' features have the same photo numbers.
        device: the device of the decoders.
        console: for progress.
    """
    start = [0, *accumulate(sum(map(len, photo)) for photo in batches.captions)]
    vocab = teachers[0].decoder.embedding.weight.shape[0]
    size = min(TOP_TOKENS, vocab)
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
    """The row numbers of all words of these photos."""
    return np.concatenate([np.arange(start[photo], start[photo + 1]) for photo in photos])


@torch.inference_mode()
def _mean_distribution(
    teachers: Sequence[Teacher], words: tuple[Tensor, ...], photos: np.ndarray, device: torch.device
) -> Tensor:
    """(real words, V), rows summing to 1."""
    inputs, targets, lengths = (tensor.to(device) for tensor in words[:3])
    never_written = torch.tensor(NEVER_WRITTEN, device=device)
    total = torch.zeros((), device=device)
    for decoder, features in teachers:
        regions = torch.from_numpy(features.take(photos).astype(np.float32)).to(device)
        decoded = decoder(inputs, lengths, decoder.prepare(regions))
        logits = decoder.logits(decoded.hidden[targets != PAD]).float()
        total = total + logits.index_fill(1, never_written, -torch.inf).softmax(dim=-1)
    return total / len(teachers)
