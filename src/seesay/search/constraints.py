"""Rules of every search: the length of a sentence, its prefix, and constraints on its tokens.

A constraint is a small object that forbids tokens, given the tokens that a sentence already has.
All searches accept all constraints. To add one, write a class like those below. It must allow the
end token, because a sentence that can neither continue nor end is dropped.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from seesay.search.step import FORBIDDEN, Array, namespace

# The range of each option; larger values would take hours, or all memory, without better results.
LIMITS = {
    "beam": (1, 100),
    "max_words": (1, 1000),
    "length_penalty": (0, 10),
    "block_ngrams": (0, 1000),
    "n": (1, 1000),
    "seed": (0, 2**64 - 1),
}
Number = int | float | np.integer | np.floating


class Constraint(Protocol):
    """A function or object with this signature."""

    def __call__(self, allowed: Array, written: Array) -> None:
        """Set the log-probability of each forbidden token to FORBIDDEN, in place.

        Args:
            allowed: (B, K, V) log-probabilities of the next token.
            written: (B, K, T) the tokens so far. Ended sentences are padded with end tokens;
                what is forbidden to them does not matter.
        """


@dataclass(frozen=True)
class NoRepeatedNgrams:
    """No n-gram is written twice in a sentence (`n` tokens in a row)."""

    n: int

    def __post_init__(self) -> None:
        check_limits(n=self.n)

    def __call__(self, allowed: Array, written: Array) -> None:
        windows = written.shape[-1] - self.n + 1
        if windows < 1:
            return
        # tokens that followed the latest n - 1 tokens before are forbidden
        latest = written[..., windows:]  # (B, K, n - 1)
        followers = written[..., self.n - 1 :]  # (B, K, windows)
        repeats = followers >= 0  # True everywhere, to begin with
        for i in range(self.n - 1):
            repeats = repeats & (written[..., i : i + windows] == latest[..., i : i + 1])
        _forbid(allowed, followers, repeats)


@dataclass(frozen=True)
class NoRepeatedWords:
    """No token is written twice in a sentence, except those in `may_repeat`.

    This prevents "a mirror and a mirror"; `may_repeat` holds words such as "a" and "in".
    """

    may_repeat: tuple[int, ...]
    _masks: dict[Any, Array] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "may_repeat", tuple(self.may_repeat))

    def __call__(self, allowed: Array, written: Array) -> None:
        once = self._once(allowed)
        _forbid(allowed, written, once[written])

    def _once(self, allowed: Array) -> Array:
        """(V,) True for tokens that must not repeat; cached by size and kind of array."""
        key = allowed.shape[-1], type(allowed), str(allowed.device)
        mask = self._masks.get(key)
        if mask is None:
            xp = namespace(allowed)
            mask = xp.ones(allowed.shape[-1], dtype=xp.bool, device=allowed.device)
            for token in self.may_repeat:
                mask[token] = False
            self._masks[key] = mask
        return mask


@dataclass(frozen=True)
class Forbidden:
    """These tokens are never written."""

    tokens: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "tokens", tuple(self.tokens))

    def __call__(self, allowed: Array, written: Array) -> None:
        allowed[..., list(self.tokens)] = FORBIDDEN


def _forbid(allowed: Array, words: Array, which: Array) -> None:
    """Forbid the tokens `words` (B, K, T) of each sentence where `which` (B, K, T) is True."""
    photo, beam, position = namespace(allowed).nonzero(which)
    if len(photo):
        allowed[photo, beam, words[photo, beam, position]] = FORBIDDEN


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Rules of every sentence: the options that all searches share.

    Attributes:
        max_words: maximal number of tokens, without the end token.
        prefix: tokens that the sentence begins with; constraints do not apply to them.
        constraints: on all tokens after the prefix.
    """

    max_words: int = 40
    prefix: tuple[int, ...] = ()
    constraints: tuple[Constraint, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "prefix", tuple(self.prefix))
        object.__setattr__(self, "constraints", tuple(self.constraints))
        check_limits(max_words=self.max_words)
        if len(self.prefix) > self.max_words:
            raise ValueError(f"prefix of {len(self.prefix)} tokens: max_words={self.max_words} leaves no room for it")


def check_limits(whole: bool = True, **values: Any) -> None:
    """Raise ValueError unless each value is a (whole) number within its `LIMITS`."""
    for name, value in values.items():
        low, high = LIMITS[name]
        if isinstance(value, bool) or not isinstance(value, Number):
            raise ValueError(f"{name}={value!r}: expected a number")
        if not low <= value:
            raise ValueError(f"{name}={value}: expected at least {low}")
        if not value <= high:
            raise ValueError(f"{name}={value}: expected at most {high}")
        if whole and value % 1 != 0:
            raise ValueError(f"{name}={value}: expected a whole number")
