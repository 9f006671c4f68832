"""Count the tokens of a data set's training captions, for the tables of docs/model.md.

python scripts/count_tokens.py PATH/TO/flickr8k
"""

from __future__ import annotations

import sys

import numpy as np

from seesay.data.readers import read_dataset
from seesay.data.tokens import UNK, CaptionTokenizer
from seesay.data.vectors import word_vectors


def main(path: str) -> None:
    """Print a row for each vocabulary, and how many of its words GloVe has."""
    captions = [caption for record in read_dataset(path).split("train") for caption in record.captions]
    for kind, size in (("word", None), ("bpe", 1000), ("bpe", 2000), ("bpe", 4000)):
        tokenizer = CaptionTokenizer.build(captions, kind=kind, vocab_size=size)
        sentences = [tokenizer.encode(caption) for caption in captions]
        lengths = np.array([*map(len, sentences)])
        unknown = sum(sentence.count(UNK) for sentence in sentences) / lengths.sum()
        longest = f"99 % at most {np.percentile(lengths, 99):.0f}, the longest {lengths.max()}"
        print(f"{kind:5}{len(tokenizer):6,} tokens; {lengths.mean():.1f} a caption, {longest}; {unknown:.1%} unknown")
    words = CaptionTokenizer.build(captions)
    print(word_vectors("glove", None, None, words, captions, seed=0).summary("glove"))


if __name__ == "__main__":
    main(sys.argv[1])
