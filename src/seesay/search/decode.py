"""The loop that every search shares: ask the model, constrain, choose, expand, retire.

A search differs from another in its `Strategy` only: which tokens it chooses, and which sentences it gives in the end.
The step sees tokens and state as (B, K, ...) and the photos' memory without K, so nothing is copied per sentence.
Photos whose sentences are all finished leave the batch. What was written and where the model looked are kept as each
step gave them; the ancestry of a sentence is followed back when its photo leaves.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from seesay.search.constraints import Constraint, Rules
from seesay.search.hypothesis import Hypothesis
from seesay.search.step import FORBIDDEN, Array, NotNumbersError, StepModel, clipped, namespace, to_numpy

# One step: parent (B, K), or None where each sentence went on by itself; token (B, K) and its log-probability (B, K);
# where the parents looked (B, K before the step, P).
Trace = tuple[Array | None, Array, Array, Array]

STAY = 0.75  # finished photos leave once no more than this share still runs: all copies together are three batches


class Strategy:
    """What a search does in its own way. This one gives all sentences in their order."""

    def choose(self, beams: Beams, allowed: Array) -> tuple[Array | None, Array]:
        """The next token of each sentence, and which of the sentences before it goes on.

        Args:
            beams: the sentences so far, K of each of B photos.
            allowed: (B, K, V) log-probabilities, FORBIDDEN where a token must not be written; not to be changed. A
                finished sentence has its end alone, at 0.

        Returns:
            (parent, token), each (B, K'); parent None: each sentence goes on by itself.
        """
        raise NotImplementedError

    def settle(self, beams: Beams) -> None:
        """Called after each step once a sentence has ended; may end photos early by `beams.alive`."""

    def collect(self, beams: Beams, photos: np.ndarray) -> list[list[Hypothesis]]:
        """The sentences of photos that leave (rows of the beams), best first where there is a best."""
        every = np.arange(beams.token.shape[1])
        return beams.hypotheses(photos, np.broadcast_to(every, (len(photos), len(every))))


def decode(model: StepModel, strategy: Strategy, rules: Rules) -> list[list[Hypothesis]]:
    """Write sentences for each photo of the model until all have ended.

    Raises:
        NotNumbersError: the step gave log-probabilities that are not numbers.
    """
    beams, found = Beams(model), {}
    for place in range(rules.max_words + 1):
        logprobs, beams.state, attention = model.step(beams.token, beams.state, beams.memory)
        if place < len(rules.prefix):
            allowed = beams.leave_one(logprobs, rules.prefix[place])
        elif place == rules.max_words:
            allowed = beams.leave_one(logprobs, model.end)
        else:
            allowed = beams.constrain(logprobs, rules.constraints)
        beams.expand(*strategy.choose(beams, allowed), allowed, attention)
        if not beams.all_alive:
            strategy.settle(beams)
            found |= beams.retire(strategy)
            if not len(beams.photos):
                break
        beams.follow_parents()
    return [found[photo] for photo in range(len(found))]


class Beams:
    """K sentences of each of B photos, as far as they are written; one array for each part of them.

    Attributes:
        photos: (B,) which of the model's photos these are.
        token: (B, K) the last token of each sentence.
        total: (B, K) its log-probability so far.
        alive: (B, K) False where it has ended, or where no token was allowed.
        written: (B, K, T) all of its tokens; after the end come more ends, at no cost.
        state, memory: what the next step needs.
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
        self._rows = xp.arange(start.shape[0], device=start.device)[:, None]
        self._columns = self._rows[:1]  # (1, K)
        self._parent: Array | None = None
        self._trace: list[Trace] = []

    def constrain(self, logprobs: Array, constraints: tuple[Constraint, ...]) -> Array:
        """(B, K, V) what each sentence may go on with."""
        allowed = clipped(logprobs)
        for token in self.never:
            allowed[..., token] = FORBIDDEN
        for constraint in constraints:
            constraint(allowed, self.written)
        self._freeze(allowed)
        return allowed

    def leave_one(self, logprobs: Array, token: int) -> Array:
        """(B, K, V) with one token alone: the next one of a prefix, or the end of a sentence that is long enough."""
        allowed = self.xp.full_like(logprobs, FORBIDDEN)
        allowed[..., token] = clipped(logprobs[..., token])
        self._freeze(allowed)
        return allowed

    def _freeze(self, allowed: Array) -> None:
        """Leave finished sentences their end alone, at no cost."""
        if not self.all_alive:
            ends = allowed[..., self.end]
            ends = self.xp.where(self.alive, ends, self.xp.zeros_like(ends))
            allowed[~self.alive] = FORBIDDEN
            allowed[..., self.end] = ends

    def expand(self, parent: Array | None, token: Array, allowed: Array, attention: Array) -> None:
        """Write one token to each sentence; see `Strategy.choose`."""
        total, alive, written, rows = self.total, self.alive, self.written, self._rows
        if parent is None:
            gained = allowed[rows, self._columns, token]
        else:
            gained = allowed[rows, parent, token]
            total, alive, written = total[rows, parent], alive[rows, parent], written[rows, parent]
        self.total = total + gained
        self.alive = alive & (token != self.end) & is_real(self.total)
        self.written = self.xp.concat([written, token[..., None]], axis=-1)
        if token.shape[1] != self._columns.shape[1]:
            self._columns = self.xp.arange(token.shape[1], device=token.device)[None]
        self.token, self._parent = token, parent
        self._trace.append((parent, token, gained, attention))
        self.all_alive = bool(self.alive.all())

    def retire(self, strategy: Strategy) -> dict[int, list[Hypothesis]]:
        """The sentences of photos that have ended and leave, by photo; they wait until it is worth the copying."""
        running = np.any(to_numpy(self.alive), axis=1)
        stay = np.flatnonzero(running)
        if len(stay) > STAY * len(running):
            return {}
        leave = np.flatnonzero(~running)
        if np.isnan(to_numpy(self.total)[leave]).any():
            raise NotNumbersError("the model's log-probabilities are not numbers (NaN)")
        found = dict(zip(self.photos[leave].tolist(), strategy.collect(self, leave), strict=True))
        self._keep(stay)
        return found

    def _keep(self, stay: np.ndarray) -> None:
        self.photos = self.photos[stay]
        if len(stay):
            self._rows = self._rows[: len(stay)]
            self._trace = list(_rows_of(tuple(self._trace), stay))
            self.state, self.memory = _rows_of((self.state, self.memory), stay)
            arrays = self.total, self.alive, self.token, self._parent, self.written
            self.total, self.alive, self.token, self._parent, self.written = _rows_of(arrays, stay)

    def follow_parents(self) -> None:
        """Give each sentence the state of the one that it continues."""
        if self._parent is not None:
            self.state = tuple(part[self._rows, self._parent] for part in self.state)

    def hypotheses(self, photos: np.ndarray, which: np.ndarray) -> list[list[Hypothesis]]:
        """Read sentences from their last token to their first.

        Args:
            photos: (N,) rows of the beams.
            which: (N, n) sentences of each.
        """
        rows, path = photos[:, None], []
        for parent, *parts in reversed(self._trace):
            token, gained, attention = map(to_numpy, parts)
            words, costs = token[rows, which], gained[rows, which]
            if parent is not None:
                which = to_numpy(parent)[rows, which]
            path.append((words, costs, attention[rows, which]))
        tokens, gained, attention = (np.stack(part[::-1], axis=2) for part in zip(*path, strict=True))
        return [
            [_hypothesis(*sentence, self.end) for sentence in zip(*photo, strict=True)]
            for photo in zip(tokens, gained, attention, strict=True)
        ]


def is_real(total: Array) -> Array:
    """False for sentences that no allowed token led to: they fill places while fewer than K are possible."""
    return total > FORBIDDEN / 2


def _rows_of(part: Any, rows: np.ndarray) -> Any:
    """Some photos of arrays (B, ...) in nested tuples."""
    if isinstance(part, tuple):
        return tuple(_rows_of(inner, rows) for inner in part)
    return None if part is None else part[rows]


def _hypothesis(tokens: np.ndarray, gained: np.ndarray, attention: np.ndarray, end: int) -> Hypothesis:
    """A path up to its first end."""
    length = int(np.argmax(tokens == end))
    logprobs = tuple(gained[: length + 1].tolist())
    maps = np.array(attention[:length], np.float32)  # a copy: one sentence should not keep those of all photos
    return Hypothesis(tuple(tokens[:length].tolist()), logprobs, maps, sum(logprobs))
