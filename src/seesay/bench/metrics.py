"""The speed of scoring captions, compared with pycocoevalcap if it is installed.

The captions are random, with five references each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from seesay.bench.timing import Figure, figure, interleaved, rates
from seesay.errors import MissingExtraError, require
from seesay.metrics import CiderD, bleu, rouge_l

Captions = list[list[str]]
VOCABULARY = 3000
REFERENCES = 5
PEER = "pycocoevalcap"


def made_up_captions(number: int, seed: int) -> Captions:
    """Random captions of 7 to 16 words, in which the n-th word has frequency 1/n (Zipf's law)."""
    random = np.random.default_rng(seed)
    frequency = 1 / np.arange(1, VOCABULARY + 1)
    lengths = random.integers(7, 17, number)
    words = random.choice(VOCABULARY, lengths.sum(), p=frequency / frequency.sum()).astype(str)
    return [part.tolist() for part in np.split(words, lengths.cumsum()[:-1])]


def metrics(images: int, repeats: int) -> Iterator[Figure]:
    """Hypotheses per second for CIDEr-D, BLEU and ROUGE-L.

    CIDEr-D is measured with and without the preparation of its references.
    """
    hypotheses = made_up_captions(images, 1)
    flat = made_up_captions(images * REFERENCES, 2)
    references = [flat[start : start + REFERENCES] for start in range(0, len(flat), REFERENCES)]
    cider = CiderD(references)
    tasks = {
        "cider_d": lambda: cider.score(hypotheses),
        "cider_d_prepared": lambda: CiderD(references).score(hypotheses),
        "bleu": lambda: bleu(hypotheses, references),
        "rouge_l": lambda: rouge_l(hypotheses, references),
    }
    peers, against = _peers(hypotheses, references)
    speeds = {name: rates(images, seconds) for name, seconds in interleaved(repeats, **tasks, **peers).items()}
    titles = ("CIDEr-D, references prepared", "CIDEr-D with the preparation", "BLEU-1 to 4", "ROUGE-L")
    for (name, peer), title in zip(_PEER_OF.items(), titles, strict=True):
        yield figure(f"metrics.{name}", title, "hypotheses/s", speeds[name], speeds.get(peer, ()), against)


_PEER_OF = {"cider_d": "their_cider", "cider_d_prepared": "their_cider", "bleu": "their_bleu", "rouge_l": "their_rouge"}


def _peers(hypotheses: Captions, references: Sequence[Captions]) -> tuple[dict[str, Callable[[], object]], str]:
    """pycocoevalcap's scorers as tasks, and the text for `Figure.against`.

    Without pycocoevalcap there are no tasks, and the text says how to install it.
    """
    try:
        cider = require("pycocoevalcap.cider.cider", "eval", "the comparison").Cider
        bleu_ = require("pycocoevalcap.bleu.bleu", "eval", "the comparison").Bleu
        rouge = require("pycocoevalcap.rouge.rouge", "eval", "the comparison").Rouge
    except MissingExtraError as error:
        return {}, str(error)
    theirs = {n: [" ".join(words)] for n, words in enumerate(hypotheses)}
    texts = {n: [" ".join(words) for words in captions] for n, captions in enumerate(references)}
    return {
        "their_cider": lambda: cider().compute_score(texts, theirs),
        "their_bleu": lambda: bleu_(4).compute_score(texts, theirs, verbose=0),
        "their_rouge": lambda: rouge().compute_score(texts, theirs),
    }, PEER
