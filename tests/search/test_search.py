"""The search against exhaustive enumeration, against itself on the other backend, and against its promises."""

from __future__ import annotations

import itertools
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from seesay.search import (
    BeamOptions,
    Forbidden,
    Hypothesis,
    NoRepeatedNgrams,
    NoRepeatedWords,
    StepModel,
    beam_search,
    score,
)
from seesay.search.beam import GRACE_TOKENS, MOST_ENDED, topk
from seesay.search.step import namespace

START, END = 0, 1
FORBIDDEN = (0, 2)


class Table:
    """A random language: log-probabilities and attention depend on the photo and on all words written so far.

    The state is the history itself and the memory the photo's number, so a state that is not reordered with its beam,
    or a memory that does not leave with its photo, gives other numbers.
    """

    regions = 3

    def __init__(self, seed: int, vocab: int, batch: int = 1, end_bonus: float = 0.0, first: int = 0) -> None:
        self.seed, self.vocab, self.batch, self.end_bonus, self.first = seed, vocab, batch, end_bonus, first
        self.rows: dict[tuple[int, ...], tuple[np.ndarray, np.ndarray]] = {}
        self.asked: list[list[tuple[int, ...]]] = []

    def row(self, photo: int, history: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        key = (photo, *history)
        if key not in self.rows:
            random = np.random.default_rng([self.seed, self.first + photo, *history])
            logits = random.normal(0, 2, self.vocab)
            logits[END] += self.end_bonus
            attention = random.dirichlet(np.ones(self.regions))
            self.rows[key] = (logits - np.log(np.exp(logits).sum())).astype(np.float32), attention.astype(np.float32)
        return self.rows[key]

    def step(self, tokens, state, memory):
        torch_asked = isinstance(tokens, torch.Tensor)
        to = torch.from_numpy if torch_asked else np.asarray
        tokens, (written,) = np.asarray(tokens), (np.asarray(part) for part in state)
        written = np.concatenate([written, tokens[..., None]], axis=-1)  # (B, K, words so far)
        histories = [[tuple(int(t) for t in beam) for beam in photo] for photo in written]
        self.asked.append([h for photo in histories for h in photo])
        rows = [[self.row(int(b), h) for h in photo] for b, photo in zip(memory[0], histories, strict=True)]
        logprobs = np.stack([np.stack([row[0] for row in photo]) for photo in rows])
        attention = np.stack([np.stack([row[1] for row in photo]) for photo in rows])
        return to(logprobs), (to(written),), to(attention)

    def model(self, never=FORBIDDEN, backend: str = "numpy") -> StepModel:
        to = torch.from_numpy if backend == "torch" else np.asarray
        start, state, photos = np.full((self.batch, 1), START), np.zeros((self.batch, 1, 0), int), np.arange(self.batch)
        return StepModel(self.step, (to(state),), (to(photos),), to(start), END, never)

    def search(
        self, options: BeamOptions, never=FORBIDDEN, backend: str = "numpy", keep_ended: bool = True
    ) -> list[list[Hypothesis]]:
        return beam_search(self.model(never, backend), options, keep_ended)

    def sentences(self, max_words: int, photo: int = 0, forbidden=FORBIDDEN) -> dict[tuple[int, ...], list[float]]:
        """Every sentence that may be written -> log-probabilities of its tokens and its end."""
        words = [w for w in range(self.vocab) if w != END and w not in forbidden]
        found = {}
        for n in range(max_words + 1):
            for sentence in itertools.product(words, repeat=n):
                found[sentence] = [
                    float(self.row(photo, (START, *sentence[:i]))[0][w]) for i, w in enumerate((*sentence, END))
                ]
        return found


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("vocab", "max_words"), [(5, 3), (4, 5), (7, 2)])
@pytest.mark.parametrize("length_penalty", [0.0, 0.7, 2.0])
def test_wide_beam_finds_what_enumeration_finds(seed, vocab, max_words, length_penalty):
    table = Table(seed, vocab)
    every = table.sentences(max_words)
    found = table.search(BeamOptions(len(every), length_penalty, max_words=max_words))[0]
    ranked = sorted(every, key=lambda s: -sum(every[s]) / len(every[s]) ** length_penalty)
    assert [h.tokens for h in found] == ranked
    for hypothesis in found:
        np.testing.assert_allclose(hypothesis.logprobs, every[hypothesis.tokens], atol=1e-6)


def test_worked_example():
    # Greedy begins with a and ends with "a a": 0.5 * 0.36 * 1; a beam of two sees that "b" has 0.4 * 0.9.
    a, b = 2, 3
    after = {
        (START,): {END: 0.1, a: 0.5, b: 0.4},
        (START, a): {END: 0.3, a: 0.36, b: 0.34},
        (START, b): {END: 0.9, a: 0.05, b: 0.05},
        (START, a, a): {END: 1.0},
    }
    table = Table(0, 4)
    for history, probabilities in after.items():
        logprobs = np.log(np.array([probabilities.get(i, 1e-9) for i in range(4)], dtype=np.float32))
        table.rows[(0, *history)] = logprobs, np.ones(3, np.float32) / 3
    greedy = table.search(BeamOptions(1, 0, max_words=2), never=())[0][0]
    best, second = table.search(BeamOptions(2, 0, max_words=2), never=())[0]
    assert greedy.tokens == (a, a)
    assert np.exp(greedy.score) == pytest.approx(0.5 * 0.36, rel=1e-5)
    assert best.tokens == (b,)
    assert np.exp(best.score) == pytest.approx(0.36, rel=1e-5)
    assert np.exp(best.logprobs) == pytest.approx([0.4, 0.9], rel=1e-5)
    assert second.tokens == (a, a)


@pytest.mark.parametrize("keep_ended", [True, False])
@pytest.mark.parametrize("seed", range(8))
def test_beam_of_one_is_greedy(seed, keep_ended):
    table, words, costs = Table(seed, 9), [], []
    for place in range(9):
        logprobs = table.row(0, (START, *words))[0].copy()
        logprobs[[*FORBIDDEN]] = -np.inf
        word = END if place == 8 else int(logprobs.argmax())
        costs.append(float(logprobs[word]))
        if word == END:
            break
        words.append(word)
    [found] = table.search(BeamOptions(1, max_words=8), keep_ended=keep_ended)[0]
    assert found.tokens == tuple(words)
    assert found.logprobs == pytest.approx(costs)


@pytest.mark.parametrize("keep_ended", [True, False])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("beam", [1, 2, 5, 30])
@pytest.mark.parametrize("blocked", [(), (NoRepeatedNgrams(2),), (NoRepeatedNgrams(2), NoRepeatedWords((3, 5)))])
def test_numpy_and_torch_agree_to_the_last_bit(seed, beam, blocked, keep_ended):
    table = Table(seed, 7, batch=3, end_bonus=1.0)
    options = BeamOptions(beam, max_words=6, constraints=blocked)
    for ours, theirs in zip(
        table.search(options, keep_ended=keep_ended),
        table.search(options, backend="torch", keep_ended=keep_ended),
        strict=True,
    ):
        assert [(h.tokens, h.logprobs, h.score) for h in ours] == [(h.tokens, h.logprobs, h.score) for h in theirs]
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(one.attention, other.attention)
            assert one.attention.dtype == other.attention.dtype == np.float32


@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("seed", range(4))
def test_attention_and_costs_belong_to_the_words_before(seed, backend):
    """Each beam's map and cost are those of its own history, so parents and state were followed rightly."""
    table = Table(seed, 8, batch=2, end_bonus=1.0)
    for photo, hypotheses in enumerate(table.search(BeamOptions(5, max_words=7), backend=backend)):
        assert len({h.tokens for h in hypotheses}) == 5, "a sentence was found twice"
        for h in hypotheses:
            assert h.attention.shape == (len(h.tokens), 3)
            for i, word in enumerate((*h.tokens, END)):
                logprobs, attention = table.row(photo, (START, *h.tokens[:i]))
                assert h.logprobs[i] == pytest.approx(float(logprobs[word]))
                if word != END:
                    np.testing.assert_array_equal(h.attention[i], attention)


@pytest.mark.parametrize("seed", range(4))
def test_promises(seed):
    options = BeamOptions(4, length_penalty=1.0, max_words=9)
    table = Table(seed, 11, batch=3, end_bonus=1.5)
    for hypotheses in table.search(options):
        assert 1 <= len(hypotheses) <= 4
        ranks = [h.score / len(h.logprobs) for h in hypotheses]
        assert ranks == sorted(ranks, reverse=True)
        for h in hypotheses:
            assert h.score == sum(h.logprobs)
            assert len(h.logprobs) == len(h.tokens) + 1 <= options.max_words + 1
            assert not {*h.tokens} & {END, *FORBIDDEN}


def test_batch_equals_single():
    options = BeamOptions(4, max_words=6)
    batch = Table(3, 8, batch=5).search(options)
    for photo, together in enumerate(batch):
        [single] = Table(3, 8, first=photo).search(options)
        assert [(h.tokens, h.score) for h in single] == [(h.tokens, h.score) for h in together]


@pytest.mark.parametrize("keep_ended", [True, False])
@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_finished_photos_leave_the_batch(backend, keep_ended):
    """Fewer and fewer rows are asked for, and what is found is what each photo alone finds."""
    options = BeamOptions(3, max_words=12, constraints=(NoRepeatedNgrams(2),))
    table = Table(9, 7, batch=13, end_bonus=1.0)
    together = table.search(options, backend=backend, keep_ended=keep_ended)
    rows = [len(histories) for histories in table.asked]
    assert rows[:2] == [13, 13 * 3], "before the first word all beams are one"
    assert rows[1:] == sorted(rows[1:], reverse=True)
    assert len(set(rows)) > 3
    assert rows[-1] < 13
    for photo, found in enumerate(together):
        [single] = Table(9, 7, end_bonus=1.0, first=photo).search(options, backend=backend, keep_ended=keep_ended)
        assert [(h.tokens, h.logprobs) for h in found] == [(h.tokens, h.logprobs) for h in single]
        for one, other in zip(found, single, strict=True):
            np.testing.assert_array_equal(one.attention, other.attention)


Sentence = tuple[tuple[int, ...], list[float]]  # tokens, and log-probabilities with the end's


def refilled(table: Table, options: BeamOptions, photo: int, grace: float = GRACE_TOKENS) -> list[Sentence]:
    """What `RefilledBeam` says, one sentence at a time."""

    def rank(sentence: Sentence, more: float = 0) -> float:
        return sum(sentence[1]) / (len(sentence[1]) + more) ** options.length_penalty

    words = [w for w in range(table.vocab) if w not in (END, *FORBIDDEN)]
    going: list[Sentence] = [((), [])]
    ended: list[Sentence] = []
    for place in range(options.max_words + 1):
        costs = [table.row(photo, (START, *tokens))[0].tolist() for tokens, _ in going]
        ends = [(tokens, [*before, row[END]]) for (tokens, before), row in zip(going, costs, strict=True)]
        further = words if place < options.max_words else []
        children: list[Sentence] = [
            ((*tokens, word), [*before, row[word]])
            for (tokens, before), row in zip(going, costs, strict=True)
            for word in further
        ]
        going = sorted(children, key=lambda child: -sum(child[1]))[: options.beam]
        least = sum(going[-1][1]) if len(going) == options.beam else -np.inf
        ended += [sentence for sentence in ends if sum(sentence[1]) >= least]
        if not going or (ended and max(map(rank, ended)) > rank(going[0], grace)):
            break
    return sorted(ended, key=rank, reverse=True)


@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("beam", "length_penalty"), [(2, 0.0), (3, 1.0), (5, 0.7), (7, 2.0)])
@pytest.mark.parametrize("whole", [False, True])
def test_a_refilled_beam_finds_what_it_says(seed, beam, length_penalty, backend, whole):
    """With whole numbers as log-probabilities, many sums are equal: then the first is taken."""
    table = Table(seed, 8, batch=3, end_bonus=0.5)
    if whole:
        table.row = lambda photo, history, row=table.row: (row(photo, history)[0].round(), row(photo, history)[1])
    options = BeamOptions(beam, length_penalty, max_words=7)
    for photo, found in enumerate(table.search(options, backend=backend, keep_ended=False)):
        expected = refilled(table, options, photo)
        assert {h.tokens for h in found} == {tokens for tokens, _ in expected}
        assert [h.score / len(h.logprobs) ** length_penalty for h in found] == pytest.approx(
            [sum(costs) / len(costs) ** length_penalty for _, costs in expected]
        )
        for h in found:
            np.testing.assert_allclose(h.logprobs, dict(expected)[h.tokens], atol=1e-6)
            for i in range(len(h.tokens)):
                np.testing.assert_array_equal(h.attention[i], table.row(photo, (START, *h.tokens[:i]))[1])


def test_a_refilled_beam_finds_more_in_no_more_steps():
    """Places of ended sentences are not lost to the others; ended ones of a fixed beam keep it busy."""
    options, more, steps = BeamOptions(4, 1.0, max_words=12), 0, 0
    for seed in range(20):
        fixed, quick = Table(seed, 9, end_bonus=1.0), Table(seed, 9, end_bonus=1.0)
        more += len(quick.search(options, keep_ended=False)[0]) - len(fixed.search(options)[0])
        steps += len(quick.asked) - len(fixed.asked)
    assert more > 0 > steps


@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("length_penalty", [0.0, 0.7, 1.5])
def test_what_is_finished_is_the_same_in_a_batch(length_penalty, backend):
    """A photo that is done stays for a while beside those that are not: nothing that it writes meanwhile counts."""
    options = BeamOptions(5, length_penalty, max_words=12)
    counts = set()
    for photo, together in enumerate(Table(9, 7, batch=13).search(options, backend=backend, keep_ended=False)):
        [single] = Table(9, 7, first=photo).search(options, backend=backend, keep_ended=False)
        assert key(together) == key(single)
        counts.add(len(single))
    assert len(counts) > 1, "how many are finished when the best is final differs"


@pytest.mark.parametrize(("cost", "waits"), [(-2.9, True), (-3.1, False)])
def test_how_long_the_best_alone_is_waited_for(cost, waits):
    """Beside a sentence of one token (its end) with -1, an unfinished one of one word may still get to three tokens:
    with -2.9 its mean could be above -1, with -3.1 not."""
    table = Table(0, 4)
    for history, logprobs in {(): {END: -1.0, 3: cost}, (3,): {3: 0.0}, (3, 3): {END: 0.0}}.items():
        row = np.array([logprobs.get(token, -50.0) for token in range(4)], np.float32)
        table.rows[(0, START, *history)] = row, np.ones(3, np.float32) / 3
    [found] = table.search(BeamOptions(2, length_penalty=1.0, max_words=2), keep_ended=False)
    assert found[0].tokens == ((3, 3) if waits else ())
    assert len(table.asked) == (3 if waits else 1)


@pytest.mark.parametrize("to", [np.asarray, torch.as_tensor])
def test_topk_takes_the_first_of_equals(to):
    values = [[3.0, 5.0, 5.0, 1.0, 5.0, 3.0, 2.0], [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0]]
    found = topk(namespace(to(values)), to(values), 5)
    assert np.asarray(found).tolist() == [[1, 2, 4, 0, 5], [0, 1, 2, 3, 4]]
    assert topk(namespace(to(values)), to(values), 50).shape == (2, 7)


def test_a_finished_beam_is_never_extended():
    """The end is certain from the second word on: longer sentences do not pay, and nothing is added after it."""
    table = Table(1, 6)
    real_row = table.row

    def row(photo, history):
        logprobs, attention = real_row(photo, history)
        if len(history) >= 2:
            logprobs = np.full(6, -9.0, np.float32)
            logprobs[END] = 0.0
        return logprobs, attention

    table.row = row
    [found] = table.search(BeamOptions(3, max_words=10))
    assert all(len(h.tokens) <= 1 for h in found)
    assert len(table.asked) == 2, "it went on after every beam had ended"


@pytest.mark.parametrize("keep_ended", [True, False])
@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_the_end_never_comes(backend, keep_ended):
    table = Table(2, 6, end_bonus=-np.inf)
    [found] = table.search(BeamOptions(3, max_words=5), backend=backend, keep_ended=keep_ended)
    assert [len(h.tokens) for h in found] == [5, 5, 5]
    assert all(np.isfinite(h.score) and not {*h.tokens} & {END, *FORBIDDEN} for h in found)
    assert len({h.tokens for h in found}) == 3


@pytest.mark.parametrize("keep_ended", [True, False])
def test_one_word(keep_ended):
    table = Table(4, 6, end_bonus=-5)
    [found] = table.search(BeamOptions(2, max_words=1), keep_ended=keep_ended)
    assert [len(h.tokens) for h in found] == [1, 1]
    assert [len(h.logprobs) for h in found] == [2, 2]
    assert found[0].logprobs[1] == table.row(0, (START, *found[0].tokens))[0][END]


@pytest.mark.parametrize("keep_ended", [True, False])
@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("beam", [5, 50])
def test_beam_wider_than_the_vocabulary_writes_only_real_sentences(beam, backend, keep_ended):
    """Two words and one place: three sentences exist, and no forbidden id fills the other places."""
    table = Table(5, 5)
    [found] = table.search(BeamOptions(beam, max_words=1), backend=backend, keep_ended=keep_ended)
    assert {h.tokens for h in found} == {(), (3,), (4,)}
    assert len(found) == 3
    assert len(table.asked) == 2


@pytest.mark.parametrize("keep_ended", [True, False])
def test_one_sentence_only(keep_ended):
    """Everything but the end is forbidden."""
    table = Table(6, 4)
    [found] = table.search(BeamOptions(3, max_words=7), never=(0, 2, 3), keep_ended=keep_ended)
    assert [h.tokens for h in found] == [()]
    assert found[0].attention.shape == (0, 3)
    assert len(table.asked) == 1, "it went on with beams that hold no sentence"


def test_length_penalty_prefers_longer_sentences():
    lengths = []
    for penalty in (0.0, 0.7, 1.5):
        found = [Table(seed, 6, end_bonus=1.0).search(BeamOptions(8, penalty, max_words=6))[0][0] for seed in range(10)]
        lengths.append(np.mean([len(h.tokens) for h in found]))
    assert lengths[0] < lengths[1] < lengths[2]


@pytest.mark.parametrize("keep_ended", [True, False])
@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_block_ngrams(n, backend, keep_ended):
    table = Table(7, 6, batch=2, end_bonus=-4)  # three words, long sentences: they repeat themselves
    free = table.search(BeamOptions(3, max_words=12), backend=backend, keep_ended=keep_ended)
    blocked = table.search(
        BeamOptions(3, max_words=12, constraints=(NoRepeatedNgrams(n),)), backend=backend, keep_ended=keep_ended
    )
    assert any(_repeats(h.tokens, n) for beams in free for h in beams)
    assert not any(_repeats(h.tokens, n) for beams in blocked for h in beams)


def _repeats(tokens: tuple[int, ...], n: int) -> bool:
    grams = list(zip(*(tokens[i:] for i in range(n)), strict=False))
    return len(set(grams)) < len(grams)


@pytest.mark.parametrize("keep_ended", [True, False])
@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("wide", [1, 100])
def test_only_some_words_may_come_twice(backend, wide, keep_ended):
    """Of three words one: a wide beam finds every such sentence, and no others; so does each photo of a batch."""
    table = Table(9, 6, batch=2, end_bonus=-2)
    every = {s for s in table.sentences(4) if max(s.count(3), s.count(5)) < 2}
    options = BeamOptions(wide, max_words=4, constraints=(NoRepeatedWords((4,)),))
    found = [{h.tokens for h in beams} for beams in table.search(options, backend=backend, keep_ended=keep_ended)]
    free = table.search(replace(options, constraints=()), backend=backend, keep_ended=keep_ended)
    assert not {h.tokens for beams in free for h in beams} <= every
    assert all(beams == every for beams in found) if wide > 1 else all(beams <= every for beams in found)
    if wide > 1:
        assert (4, 4, 4, 4) in every


def test_ngrams_of_no_token_are_refused():
    with pytest.raises(ValueError, match=r"^n=0: expected at least 1$"):
        NoRepeatedNgrams(0)


def test_block_ngrams_blocks_nothing_else():
    """A wide beam with blocking finds every sentence without a repeated pair, and all of those."""
    table = Table(8, 5)
    every = [s for s in table.sentences(4) if not _repeats(s, 2)]
    [found] = table.search(BeamOptions(2 * len(every), max_words=4, constraints=(NoRepeatedNgrams(2),)))
    assert {h.tokens for h in found} == set(every)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"beam": 0}, "beam=0: expected at least 1"),
        ({"max_words": 0}, "max_words=0: expected at least 1"),
        ({"length_penalty": -0.5}, "length_penalty=-0.5: expected at least 0"),
        ({"beam": 101}, "beam=101: expected at most 100"),
        ({"prefix": (3,) * 41}, "prefix of 41 tokens: max_words=40 leaves no room for it"),
        ({"length_penalty": float("nan")}, "length_penalty=nan: expected at least 0"),
        ({"beam": 2.5}, "beam=2.5: expected a whole number"),
        ({"max_words": 10**9}, "max_words=1000000000: expected at most 1000"),
        ({"length_penalty": float("inf")}, "length_penalty=inf: expected at most 10"),
        ({"beam": "5"}, "beam='5': expected a number"),
        ({"beam": True}, "beam=True: expected a number"),
    ],
)
def test_wrong_options_are_named(wrong, said):
    with pytest.raises(ValueError, match=f"^{said}$"):
        replace(BeamOptions(), **wrong)


@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("keep_ended", [True, False])
@pytest.mark.parametrize(("tokens", "step"), [(range(6), 0), ([END], 0), ([END], 2), ([4], 1), (range(6), 5)])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_is_said(backend, keep_ended, tokens, step, value):
    """A model that diverged: no caption without words, as if it had ended at once, for one photo of three."""
    table = Table(0, 6, batch=3, end_bonus=-9.0)
    table.row = lambda photo, history, row=table.row: (row(photo, history)[0].copy(), row(photo, history)[1])
    real = table.row

    def row(photo, history):
        logprobs, attention = real(photo, history)
        if photo == 1 and len(history) == step + 1:
            logprobs[list(tokens)] = value
        return logprobs, attention

    table.row = row
    with pytest.raises(ValueError, match=r"^the model's log-probabilities are not numbers \(NaN or infinite\)$"):
        table.search(BeamOptions(3, max_words=5), backend=backend, keep_ended=keep_ended)


def test_log_probabilities_of_minus_infinity_are_unlikely_but_allowed():
    table = Table(3, 5, end_bonus=-np.inf)
    [found] = table.search(BeamOptions(2, max_words=2), keep_ended=False)
    assert {len(h.tokens) for h in found} == {2} and all(-1.1e4 < h.score < -1e4 for h in found)


def test_what_ends_anywhere_is_bounded():
    """A model that has learnt nothing: at most MOST_ENDED sentences for each place in the beam, the best of all."""
    table = Table(0, 9)
    table.row = lambda photo, history: (np.full(9, -np.log(9), np.float32), np.ones(3, np.float32) / 3)
    options = BeamOptions(3, length_penalty=1.0, max_words=30)
    [found] = table.search(options, keep_ended=False)
    assert len(refilled(table, options, 0)) > len(found) == MOST_ENDED * 3


def key(sentences: list[Hypothesis]) -> list[tuple[tuple[int, ...], tuple[float, ...]]]:
    return [(h.tokens, h.logprobs) for h in sentences]


@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("length_penalty", [0.0, 0.7, 2.0])
@pytest.mark.parametrize("seed", range(5))
def test_what_is_finished_early_is_what_the_table_gives(seed, length_penalty, backend):
    """Each sentence that an early end leaves has its own log-probabilities, ends itself, and is ranked."""
    options = BeamOptions(5, length_penalty, max_words=9)
    table = Table(seed, 7, batch=6, end_bonus=0.5)
    for photo, found in enumerate(table.search(options, backend=backend, keep_ended=False)):
        assert 1 <= len(found) == len({h.tokens for h in found})
        ranks = [h.score / len(h.logprobs) ** length_penalty for h in found]
        assert ranks == sorted(ranks, reverse=True)
        for h in found:
            before = [(START, *h.tokens[:n]) for n in range(len(h.logprobs))]
            expected = [table.row(photo, h0)[0][token] for h0, token in zip(before, (*h.tokens, END), strict=True)]
            if len(h.tokens) < 9:  # else the end was forced
                np.testing.assert_allclose(h.logprobs, expected, atol=1e-6)


def test_a_final_sentence_may_be_overtaken():
    """With a length penalty, a search that went on would sometimes find a better one."""
    options = BeamOptions(5, 1.5, max_words=9)
    tables = [Table(seed, 7, end_bonus=0.5) for seed in range(15)]
    early = [table.search(options, keep_ended=False)[0][0].tokens for table in tables]
    late = [refilled(table, options, 0, grace=np.inf)[0][0] for table in tables]
    assert early != late


@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("keep_ended", [True, False])
def test_a_prefix_begins_every_sentence(backend, keep_ended):
    """Whatever the other rules say of it; after it a wide beam finds what it would find among all."""
    table, prefix = Table(3, 6, batch=2), (3, 3, 4)
    repeats = NoRepeatedWords((5,))
    options = BeamOptions(100, 0, max_words=5, prefix=prefix, constraints=(repeats,))
    for photo, found in enumerate(table.search(options, backend=backend, keep_ended=keep_ended)):
        every = {s: c for s, c in table.sentences(5, photo).items() if s[:3] == prefix and not {3, 4} & {*s[3:]}}
        ranked = sorted(every, key=lambda s: -sum(every[s]))
        tokens = [h.tokens for h in found]
        assert tokens == ranked if keep_ended else tokens == [s for s in ranked if s in tokens]
        assert tokens[0] == ranked[0]
        for h in found:
            np.testing.assert_allclose(h.logprobs, every[h.tokens], atol=1e-6)
    options = replace(options, max_words=3)
    assert [h.tokens for [h] in table.search(options, backend=backend)] == [prefix, prefix], "no room for more"


@pytest.mark.parametrize("keep_ended", [True, False])
@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_forbidden_tokens_are_not_written(backend, keep_ended):
    table = Table(4, 6, batch=2)
    options = BeamOptions(100, max_words=3, constraints=(Forbidden((3, 5)),))
    for found in table.search(options, backend=backend, keep_ended=keep_ended):
        allowed, written = {(4,) * n for n in range(4)}, {h.tokens for h in found}
        assert written == allowed if keep_ended else written and written <= allowed


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_a_given_sentence_has_the_models_own_figures(backend):
    """Tokens that no search writes, and repetitions, are scored as the others are."""
    table, words = Table(5, 7, batch=3), (4, 2, 4, 4)
    for photo, found in enumerate(score(table.model(backend=backend), words)):
        assert found.tokens == words
        for i, word in enumerate((*words, END)):
            logprobs, attention = table.row(photo, (START, *words[:i]))
            assert found.logprobs[i] == logprobs[word]
            if word != END:
                np.testing.assert_array_equal(found.attention[i], attention)
        assert found.score == sum(found.logprobs)


def test_numpy_needs_no_torch():
    code = """
import sys, numpy as np
from seesay.search import BeamOptions, StepModel, beam_search
ones = lambda tokens, n: np.ones((*tokens.shape, n), np.float32)
step = lambda tokens, state, memory: (np.log(ones(tokens, 3) / 3), state, ones(tokens, 1))
beam_search(StepModel(step, (), (), np.zeros((1, 1), np.int64), 1, (0,)), BeamOptions(2, max_words=3))
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
