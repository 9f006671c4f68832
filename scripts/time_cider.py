"""Time CIDEr-D and pycocoevalcap's on real captions: `python scripts/time_cider.py
FLICKR8K_FOLDER`.

Scores 1,000 dev photos with five references each; half of the hypotheses are captions of another
photo. Then times the reward of self-critical training: 50 photos x 5 sentences.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from pycocoevalcap.cider.cider import Cider

from seesay.data.readers import read_dataset
from seesay.data.tokens import UNK, CaptionTokenizer, split_words
from seesay.metrics import CiderD
from seesay.training.objectives.self_critical import CaptionReward


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """The seconds and the result of a call."""
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def main() -> None:
    """Measure both."""
    data, chance = read_dataset(sys.argv[1]), random.Random(0)
    train, dev = ([list(r.captions) for r in data.split(name)] for name in ("train", "dev"))
    references = [[split_words(caption) for caption in captions] for captions in dev]
    hypotheses = [(own if n % 2 else chance.choice(references))[0] for n, own in enumerate(references)]
    texts = {n: [" ".join(words) for words in captions] for n, captions in enumerate(references)}
    theirs = {n: [" ".join(words)] for n, words in enumerate(hypotheses)}

    cider = CiderD(references)
    for _ in range(5):
        slow, (_, values) = timed(lambda: Cider().compute_score(texts, theirs))
        prepare, _ = timed(lambda: CiderD(references))
        score, ours = timed(lambda: cider.score(hypotheses))
        print(
            f"pycocoevalcap {len(dev) / slow:.0f}/s, ours {len(dev) / score:.0f}/s: "
            f"{slow / score:.0f} times, {slow / (prepare + score):.0f} with the preparation; "
            f"difference {abs(np.array(values) - ours).max():.0e}"
        )

    tokenizer = CaptionTokenizer.build(caption for captions in train for caption in captions)
    photos = chance.sample(range(len(train)), 50)
    sentences = [[[i for i in tokenizer.encode(chance.choice(train[p])) if i != UNK] for _ in range(5)] for p in photos]
    for weight in (0.0, 1.0):
        reward = CaptionReward(tokenizer, train, weight)
        taken = np.median([timed(lambda r=reward: r(photos, sentences))[0] for _ in range(20)])
        print(f"250 rewards, bleu_weight {weight}: {1000 * taken:.1f} ms")


if __name__ == "__main__":
    main()
