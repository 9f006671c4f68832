"""The loop that every search shares: step, constrain, choose, expand, retire.

Searches differ only in their `Strategy`: which tokens they choose, and which sentences they return.
The step gets tokens and state as (B, K, ...) and the photos' memory without K, so that memory is
not copied for each sentence. Photos whose sentences have all ended leave the batch. Tokens and
attention are stored as each step returned them; sentences are traced back from their last token
when their photo leaves.
"""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np

from seesay.search.constraints import Constraint, Rules
from seesay.search.hypothesis import Hypothesis
from seesay.search.step import FORBIDDEN, Array, StepModel, clip, namespace, to_numpy

# One step: parent (B, K), or None if each sentence continued itself; token (B, K); its
# log-probability (B, K); and the attention (B, K, P), ordered as the sentences were before the
# step.
Trace = tuple[Array | None, Array, Array, Array]

# Finished photos are removed once at most this share of the photos is unfinished. All copies
# together then cost at most as much as copying three batches.
SHRINK_AT = 0.75


class Strategy:
    """The part in which searches differ. This base class returns all sentences in order."""

    def choose(self, beams: Beams, allowed: Array) -> tuple[Array | None, Array]:
        """Choose the next token of each sentence, and the sentence that it continues.

        Args:
            beams: the sentences so far, K for each of B photos.
            allowed: (B, K, V) log-probabilities, FORBIDDEN for tokens that must not be written;
                must not be changed. Ended sentences may only repeat the end token, at
                log-probability 0.

        Returns:
            (parent, token), each (B, K'), where K' becomes the new K; parent None: each sentence
            continues itself.
        """
        raise NotImplementedError

    def settle(self, beams: Beams) -> None:
        """Called after each step; it may end photos early with `beams.give_up`."""

    def collect(self, beams: Beams, photos: np.ndarray) -> list[list[Hypothesis]]:
        """The sentences of photos that are finished; ranked, if the search ranks them.

        Args:
            beams: all sentences.
            photos: (N,) rows of the finished photos.
        """
        number, steps = beams.token.shape[1], beams.written.shape[-1]
        rows, places = np.repeat(photos, number), np.tile(np.arange(number), len(photos))
        sentences = iter(beams.hypotheses(rows, places, np.full(len(rows), steps)))
        return [list(islice(sentences, number)) for _ in photos]


def decode(model: StepModel, strategy: Strategy, rules: Rules) -> list[list[Hypothesis]]:
    """Run a search until the sentences of all photos have ended.

    Raises:
        NotNumbersError: the step gave log-probabilities that are NaN or +infinite.
    """
    beams, sentences = Beams(model), {}
    for position in range(rules.max_words + 1):
        logprobs, beams.state, attention = model.step(beams.token, beams.state, beams.memory)
        clip(logprobs)
        if position < len(rules.prefix):
            allowed = beams.force(logprobs, rules.prefix[position])
        elif position == rules.max_words:
            allowed = beams.force(logprobs, model.end)
        else:
            allowed = beams.constrain(logprobs, rules.constraints)
        beams.expand(*strategy.choose(beams, allowed), allowed, attention)
        strategy.settle(beams)
        if not beams.all_alive:
            sentences |= beams.retire(strategy)
            if not len(beams.photos):
                break
        beams.follow_parents()
    return [sentences[photo] for photo in range(len(sentences))]


class Beams:
    """K unfinished or ended sentences for each of B photos, as arrays.

    Attributes:
        photos: (B,) indices of the photos among the model's.
        rows: (B, 1) 0 to B - 1.
        token: (B, K) the last token of each sentence.
        total: (B, K) its log-probability so far.
        alive: (B, K) False for sentences that have ended, or had no allowed token.
        written: (B, K, T) all tokens of each sentence, padded with end tokens.
        state, memory: for the next step.
        all_alive: whether `alive` is True everywhere.
    """

    def __init__(self, model: StepModel) -> None:
        start = model.start
        self.xp = xp = namespace(start)
        self.end, self.never = model.end, model.never
        self.state, self.memory, self.token = model.state, model.memory, start
        self.total = xp.zeros(start.shape, dtype=xp.float32, device=start.device)
        self.alive = xp.ones(start.shape, dtype=xp.bool, device=start.device)
        self.written = start[..., None][..., :0]
        self.photos = np.arange(start.shape[0])
        self.all_alive = True
        self.rows = xp.arange(start.shape[0], device=start.device)[:, None]
        self._columns = self.rows[:1]  # (1, K)
        self._parent: Array | None = None
        self._trace: list[Trace] = []

    def constrain(self, logprobs: Array, constraints: tuple[Constraint, ...]) -> Array:
        """(B, K, V) log-probabilities with the constraints applied, in place."""
        for token in self.never:
            logprobs[..., token] = FORBIDDEN
        for constraint in constraints:
            constraint(logprobs, self.written)
        self._freeze(logprobs)
        return logprobs

    def force(self, logprobs: Array, token: int) -> Array:
        """(B, K, V) log-probabilities with all tokens forbidden except this one."""
        allowed = self.xp.full_like(logprobs, FORBIDDEN)
        allowed[..., token] = logprobs[..., token]
        self._freeze(allowed)
        return allowed

    def _freeze(self, allowed: Array) -> None:
        """Ended sentences may only repeat the end token, at log-probability 0."""
        if not self.all_alive:
            ends = allowed[..., self.end]
            ends = self.xp.where(self.alive, ends, self.xp.zeros_like(ends))
            allowed[~self.alive] = FORBIDDEN
            allowed[..., self.end] = ends

    def expand(self, parent: Array | None, token: Array, allowed: Array, attention: Array) -> None:
        """Append one token to each sentence; see `Strategy.choose`."""
        total, alive, written, rows = self.total, self.alive, self.written, self.rows
        if parent is None:
            logprob = allowed[rows, self._columns, token]
        else:
            logprob = allowed[rows, parent, token]
            total, alive, written = total[rows, parent], alive[rows, parent], written[rows, parent]
        self.total = total + logprob
        self.alive = alive & (token != self.end) & is_real(self.total)
        self.written = self.xp.concat([written, token[..., None]], axis=-1)
        if token.shape[1] != self._columns.shape[1]:
            self._columns = self.xp.arange(token.shape[1], device=token.device)[None]
        self.token, self._parent = token, parent
        self._trace.append((parent, token, logprob, attention))
        self.all_alive = bool(self.alive.all())

    def give_up(self, photos: np.ndarray) -> None:
        """End the search for photos, (B,) True; they leave when the next ones do."""
        if photos.any():
            self.alive[photos] = False
            self.all_alive = False

    def retire(self, strategy: Strategy) -> dict[int, list[Hypothesis]]:
        """Remove photos whose sentences have all ended, and return their sentences by photo.

        Nothing is removed until there are enough such photos, see `SHRINK_AT`.
        """
        running = np.any(to_numpy(self.alive), axis=1)
        stay = np.flatnonzero(running)
        if len(stay) > SHRINK_AT * len(running):
            return {}
        leave = np.flatnonzero(~running)
        sentences = dict(zip(self.photos[leave].tolist(), strategy.collect(self, leave), strict=True))
        self._keep(stay)
        return sentences

    def _keep(self, stay: np.ndarray) -> None:
        self.photos = self.photos[stay]
        if len(stay):
            self.rows = self.rows[: len(stay)]
            self._trace = list(_rows_of(tuple(self._trace), stay))
            self.state, self.memory = _rows_of((self.state, self.memory), stay)
            arrays = self.total, self.alive, self.token, self._parent, self.written
            self.total, self.alive, self.token, self._parent, self.written = _rows_of(arrays, stay)

    def follow_parents(self) -> None:
        """Give each sentence the state of its parent."""
        if self._parent is not None:
            self.state = tuple(part[self.rows, self._parent] for part in self.state)

    def hypotheses(
        self, rows: np.ndarray, places: np.ndarray, steps: np.ndarray, ends: np.ndarray | None = None
    ) -> list[Hypothesis]:
        """Trace sentences back from their last token.

        Args:
            rows: (N,) rows of their photos.
            places: (N,) places of their last token in the beam; 0 without tokens.
            steps: (N,) number of their tokens.
            ends: (N,) log-probabilities of the end tokens, if these are not among the tokens.
        """
        number = int(steps.max(initial=0))
        reached = steps > np.arange(number)[:, None]  # (T, N)
        tokens = np.full((number + 1, len(rows)), self.end)
        logprobs = np.zeros((number + 1, len(rows)), np.float32)
        attention = np.zeros((number, len(rows), self._trace[0][3].shape[-1]), np.float32)
        for step in range(number - 1, -1, -1):
            parent, *parts = self._trace[step]
            token, logprob, weights = map(to_numpy, parts)
            tokens[step], logprobs[step] = token[rows, places], logprob[rows, places]
            if parent is not None:  # a sentence waits until its last token is reached
                places = np.where(reached[step], to_numpy(parent)[rows, places], places)
            attention[step] = weights[rows, places]
        tokens[:number][~reached] = self.end
        if ends is not None:
            logprobs[steps, np.arange(len(rows))] = ends
        parts = tokens.T, logprobs.T, attention.swapaxes(0, 1)
        return [_hypothesis(*sentence, self.end) for sentence in zip(*parts, strict=True)]


def is_real(total: Array) -> Array:
    """False for sentences with a forbidden token, which exist if fewer than K are possible."""
    return total > FORBIDDEN / 2


def _rows_of(part: Any, rows: np.ndarray) -> Any:
    """Select photos from arrays (B, ...) in nested tuples."""
    if isinstance(part, tuple):
        return tuple(_rows_of(inner, rows) for inner in part)
    return None if part is None else part[rows]


def _hypothesis(tokens: np.ndarray, logprobs: np.ndarray, attention: np.ndarray, end: int) -> Hypothesis:
    """The sentence up to its first end token."""
    length = int(np.argmax(tokens == end))
    until_end = tuple(logprobs[: length + 1].tolist())
    # a copy, so that the arrays of all photos can be freed
    maps = np.array(attention[:length], np.float32)
    return Hypothesis(tuple(tokens[:length].tolist()), until_end, maps, sum(until_end))
