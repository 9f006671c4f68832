"""The singular of English nouns."""

from __future__ import annotations

_IRREGULAR = {
    "men": "man", "women": "woman", "children": "child", "people": "person", "feet": "foot",
    "teeth": "tooth", "geese": "goose", "mice": "mouse", "knives": "knife", "leaves": "leaf",
    "calves": "calf", "wolves": "wolf", "scarves": "scarf", "shelves": "shelf",
    "buses": "bus", "lenses": "lens", "canvases": "canvas",
    "policemen": "policeman", "firemen": "fireman", "fishermen": "fisherman",
}  # fmt: skip
# Words ending in s that are not plurals, and words without a singular.
_UNCHANGED = {
    "bus", "gas", "lens", "tennis", "canvas", "christmas", "chess", "grass", "glass", "dress", "cross",
    "moss", "boss", "jeans", "pants", "shorts", "trousers", "sunglasses", "glasses", "goggles",
    "scissors", "clothes",
}  # fmt: skip


def singular(word: str) -> str:
    """The singular of an English noun in lower case, by rules and a short list.

    Other words may be changed wrongly.
    """
    word = word.lower()
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if word in _UNCHANGED or len(word) <= 3 or not word.endswith("s") or word.endswith("ss"):
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("ches", "shes", "sses", "xes")):
        return word[:-2]
    return word[:-1]
