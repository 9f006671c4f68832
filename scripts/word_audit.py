"""Do captions call people by the right gender and age? Counts words against the references, by data set.

seesay evaluate --model flickr8k-coco --data PATH/TO/flickr8k --split dev --json scores.json
python scripts/word_audit.py scores.json PATH/TO/flickr8k [MORE_SCORES MORE_DATA ...]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from seesay.data.readers import read_dataset
from seesay.data.tokens import split_words

MEN = {"man", "men", "guy", "guys", "boy", "boys", "male", "gentleman", "his", "he", "father", "dad", "groom"}
WOMEN = {"woman", "women", "lady", "ladies", "girl", "girls", "female", "her", "she", "mother", "mom", "bride"}
ADULTS = {"man", "men", "woman", "women", "lady", "ladies", "guy", "guys", "adult", "adults"}
CHILDREN = {
    "boy",
    "boys",
    "girl",
    "girls",
    "child",
    "children",
    "kid",
    "kids",
    "toddler",
    "toddlers",
    "baby",
    "babies",
    "infant",
}
WORDS = {"man": {"man", "men"}, "woman": {"woman", "women"}, "boy": {"boy", "boys"}, "girl": {"girl", "girls"}}
WORDS["child"] = {"child", "children", "baby"}
MOST = 3  # references that must agree on who is on a photo

Photo = tuple[set[str], list[set[str]]]


def main(arguments: list[str]) -> None:
    """Print both tables."""
    photos: list[Photo] = []
    for scores, data in zip(arguments[::2], arguments[1::2], strict=True):
        captions = json.loads(Path(scores).read_text("utf-8"))["captions"]
        for record in read_dataset([Path(data)]).records:
            if record.id in captions:
                references = [set(split_words(text)) for text in record.captions]
                photos.append((set(split_words(captions[record.id])), references))
    print("word     captions   same only   both   other only   neither")
    for word, said in WORDS.items():
        if word != "child":
            row(photos, f"{word} (gender)", said, *((MEN, WOMEN) if word in ("man", "boy") else (WOMEN, MEN)))
        row(photos, f"{word} (age)", said, *((ADULTS, CHILDREN) if word in ("man", "woman") else (CHILDREN, ADULTS)))
    for name, same, other in (("men", MEN, WOMEN), ("women", WOMEN, MEN)):
        clear = [
            said
            for said, references in photos
            if sum(bool(r & same) for r in references) >= MOST and not any(r & other for r in references)
        ]
        right, wrong = (sum(bool(said & words) for said in clear) for words in (same, other))
        print(f"of {len(clear)} photos of {name} only, {right} are called so, and {wrong} the other gender")


def row(photos: list[Photo], name: str, said: set[str], same: set[str], other: set[str]) -> None:
    """What references say where captions use a word."""
    counts = [0, 0, 0, 0]
    for caption, references in photos:
        if caption & said:
            right, wrong = (any(r & words for r in references) for words in (same, other))
            counts[(0 if right else 3) if not wrong else (1 if right else 2)] += 1
    total = max(sum(counts), 1)
    print(name, sum(counts), *(f"{100 * count / total:.0f} %" for count in counts), sep="\t")


if __name__ == "__main__":
    main(sys.argv[1:])
