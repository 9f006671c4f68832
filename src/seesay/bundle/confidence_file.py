"""confidence.json and confidence.safetensors: how far to trust a caption, learnt by `seesay calibrate`.

confidence.json, version 3 (files of earlier versions are ignored: they know other signals):

    version      3
    precision    the precision of the graphs whose captions it was learnt on: "int8" or "float32"
    grams        words (no function words), and pairs of words with a space between
    kinds        what a picture may be; the first is "photo"
    threshold    a picture is no photo if another kind exceeds "photo" by more than this
    photos       number of photos it was learnt on, and of those it was calibrated on
    figures      how well it does on photos that it was not learnt on

confidence.safetensors; F pooled features, R ranks, G grams, C kinds:

    features.mean, features.scale      (F,) float32
    project, project.scale             (F, R) int8, (R,) float32
    shares, shares.scale, shares.base  (R, G) int8, (G,) float32, (G,) float32
    idf                                (G,) float32
    accept, word                       (signals + 1,) float32, the last is the constant
    kinds, kinds.scale, kinds.base     (F, C) int8, (C,) float32, (C,) float32
    photo                              (2,) float32, slope and constant of the probability of a photo
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from seesay.bundle.errors import damaged, refused
from seesay.bundle.fields import Fields
from seesay.bundle.weights_file import read_tensors
from seesay.errors import shown
from seesay.version import __version__
from seesay.writing import write_json

VALUES, TENSORS = "confidence.json", "confidence.safetensors"
VERSION = 3
PHOTO = "photo"
ACCEPT_SIGNALS = 3  # of `seesay.runtime.confidence.sentence_signals`
WORD_SIGNALS = 4  # of `word_signals` there
MOST_GRAMS, MOST_KINDS = 100_000, 100


@dataclass(frozen=True, eq=False)
class ConfidenceHead:
    """What turns a photo's features and a sentence's log-probabilities into probabilities.

    Matrices are float32, as they are used; `write_head` rounds `project`, `shares` and `kinds` to 8 bits.

    Attributes:
        grams: G words and pairs of words.
        idf: (G,) log of training photos / photos whose references have the gram.
        mean, scale: (F,) of the pooled features on the training photos; they are standardised with these.
        project: (F, R).
        shares: (G, R); shares @ (features @ project) + base is the share of a photo's references that have each gram.
        base: (G,).
        accept: (ACCEPT_SIGNALS + 1,) weights of a logistic regression, the constant last.
        word: (WORD_SIGNALS + 1,) as `accept`.
        kinds: their names, "photo" first; empty if it was learnt without pictures that are no photos.
        kind_weights: (F, C).
        kind_base: (C,).
        photo: slope and constant of the probability that a picture is a photo, as a function of the margin of "photo"
            over the other kinds.
        threshold: of that margin; below it a picture is no photo.
        about: further fields of confidence.json.
    """

    grams: tuple[str, ...]
    idf: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    project: np.ndarray
    shares: np.ndarray
    base: np.ndarray
    accept: np.ndarray
    word: np.ndarray
    kinds: tuple[str, ...] = ()
    kind_weights: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    kind_base: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    photo: tuple[float, float] = (0.0, 0.0)
    threshold: float = 0.0
    about: dict[str, Any] = field(default_factory=dict)


def write_head(folder: Path, head: ConfidenceHead) -> None:
    """Write both files; the inverse of `read_head`, but for the rounding."""
    from safetensors.numpy import save

    tensors = {"features.mean": head.mean, "features.scale": head.scale, "idf": head.idf, "shares.base": head.base}
    tensors |= {"accept": head.accept, "word": head.word}
    matrices = {"project": head.project, "shares": head.shares.T}
    if head.kinds:
        tensors |= {"kinds.base": head.kind_base, "photo": np.array(head.photo)}
        matrices["kinds"] = head.kind_weights
    tensors = {name: np.asarray(tensor, np.float32) for name, tensor in tensors.items()}
    for name, matrix in matrices.items():
        tensors[name], tensors[f"{name}.scale"] = rounded(matrix)
    # safetensors writes the memory of an array as it lies, whatever its strides
    (folder / TENSORS).write_bytes(save({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}))
    values = {"version": VERSION, **head.about, "kinds": list(head.kinds), "threshold": round(head.threshold, 6)}
    write_json(folder / VALUES, values | {"grams": list(head.grams)})


def rounded(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A matrix in 8 bits, and the scale of each column: `matrix` is about their product."""
    scale = np.maximum(np.abs(matrix).max(axis=0), 1e-12) / 127
    return np.rint(matrix / scale).astype(np.int8), scale.astype(np.float32)


def read_head(folder: Path, features: int | None = None) -> ConfidenceHead | None:
    """Read a bundle's head; None if it has none, or one of an earlier seesay.

    Args:
        folder: of the bundle.
        features: F as the model's encoder gives them, if known.

    Raises:
        BundleError: one of the files is missing or damaged, or they do not fit each other or the model.
    """
    here = [(folder / name).is_file() for name in (VALUES, TENSORS)]
    if not any(here):
        return None
    if not all(here):
        raise refused(folder / (VALUES, TENSORS)[here.index(False)], "is missing, its other half is there")
    fields = Fields(folder / VALUES)
    version = fields.whole("version", 1, 1_000_000)
    if version < VERSION:
        return None
    if version > VERSION:
        fields.refuse(f"version {version}, this seesay ({__version__}) reads up to {VERSION}; install a newer one")
    grams = tuple(fields.texts("grams", MOST_GRAMS))
    kinds = tuple(fields.texts("kinds"))
    threshold = fields.number("threshold", -1e6, 1e6)
    if not 1 <= len(grams) <= MOST_GRAMS or len(set(grams)) < len(grams):
        fields.refuse(f"grams: expected 1 to {MOST_GRAMS:,} different ones, got {len(grams):,}")
    if kinds and (kinds[0] != PHOTO or not 2 <= len(set(kinds)) == len(kinds) <= MOST_KINDS):
        fields.refuse(f"kinds={shown(list(kinds))}: expected none, or 'photo' and one or more others")
    about = {name: value for name, value in fields.values.items() if name not in ("version", "grams", "kinds")}
    path, tensors = folder / TENSORS, read_tensors(folder / TENSORS)

    def take(name: str, *shape: int | None, dtype: str = "float32") -> np.ndarray:
        if name not in tensors:
            raise damaged(path, f"has no {name}")
        tensor = tensors[name]
        fits = tensor.ndim == len(shape) and all(n in (None, m) for n, m in zip(shape, tensor.shape, strict=True))
        if tensor.dtype != dtype or not fits:
            wanted = " x ".join("any" if n is None else str(n) for n in shape)
            raise refused(path, f"{name} is {tensor.dtype} {shown(list(tensor.shape))}, expected {dtype} {wanted}")
        return tensor

    def matrix(name: str, rows: int | None, cols: int | None, turned: bool = False) -> np.ndarray:
        whole = take(name, rows, cols, dtype="int8")
        scale = take(f"{name}.scale", whole.shape[1])
        return np.ascontiguousarray(whole.T) * scale[:, None] if turned else whole * scale

    mean = take("features.mean", features)
    project = matrix("project", len(mean), None)
    scale = take("features.scale", len(mean))
    if not (scale > 0).all():
        raise refused(path, "features.scale has values that are not above 0")
    head = ConfidenceHead(
        grams=grams,
        idf=take("idf", len(grams)),
        mean=mean,
        scale=scale,
        project=project,
        shares=matrix("shares", project.shape[1], len(grams), turned=True),
        base=take("shares.base", len(grams)),
        accept=take("accept", ACCEPT_SIGNALS + 1),
        word=take("word", WORD_SIGNALS + 1),
        about=about,
    )
    if not kinds:
        return head
    slope, constant = take("photo", 2).tolist()
    return replace(
        head,
        kinds=kinds,
        threshold=threshold,
        photo=(slope, constant),
        kind_weights=matrix("kinds", len(mean), len(kinds)),
        kind_base=take("kinds.base", len(kinds)),
    )
