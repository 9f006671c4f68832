"""The input of every metric, and checks that all metrics share."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

from seesay.errors import DataError

Tokens = Sequence[Hashable]
"""One caption: words as strings, or token ids; anything that can be compared and hashed."""

References = Sequence[Sequence[Tokens]]
"""The reference captions of each image."""


def check_pairs(hypotheses: Sequence[Tokens], references: References) -> None:
    """Raise DataError unless each image has one tokenised hypothesis and at least one reference."""
    if len(hypotheses) != len(references):
        raise DataError(f"got {len(hypotheses)} hypotheses for {len(references)} images: expected one for each image")
    check_hypotheses(hypotheses)
    check_references(references)


def check_hypotheses(hypotheses: Sequence[Tokens]) -> None:
    """Raise DataError if a hypothesis is text rather than tokens."""
    _check_tokens(hypotheses, "hypothesis")


def check_references(references: References) -> None:
    """Raise DataError if there is no image, or one without references, or a reference is text."""
    if not references:
        raise DataError("no images to score: expected at least one")
    for number, captions in enumerate(references):
        if not captions:
            raise DataError(f"image {number} has no reference captions: expected at least one")
        _check_tokens(captions, f"a reference of image {number}")


def _check_tokens(captions: Iterable[Tokens], what: str) -> None:
    for caption in captions:
        if isinstance(caption, str):
            raise DataError(f"{what} is the text {caption!r}: expected a list of tokens; split it into words first")
