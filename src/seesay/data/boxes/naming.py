"""Whether a word names an object: the same noun, singular or plural, or another noun for its kind."""

from __future__ import annotations

from collections.abc import Sequence

from seesay.data.records import BoxedObject
from seesay.geometry import Box

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
_PEOPLE = (
    "person man woman boy girl child kid baby toddler adult lady guy male female teenager youth "
    "player rider skateboarder surfer skier snowboarder climber hiker cyclist biker runner swimmer "
    "dancer worker athlete catcher batter pitcher officer skater wakeboarder gymnast jogger "
    "couple crowd group team someone human individual"
)
# Nouns for things of each kind: types of Flickr30k Entities, and categories of COCO.
KIND_WORDS: dict[str, frozenset[str]] = {
    kind: frozenset(words.split())
    for kind, words in {
        "people": _PEOPLE,
        "animals": (
            "animal dog puppy poodle retriever greyhound terrier labrador collie hound cat kitten "
            "horse pony cow bull bird duck goose seagull pigeon sheep lamb goat monkey elephant"
        ),
        "vehicles": (
            "vehicle car truck van suv bus bike bicycle motorcycle motorbike scooter train boat "
            "canoe kayak raft ship sailboat plane airplane"
        ),
        "person": _PEOPLE,
        "bicycle": "bicycle bike",
        "car": "car vehicle van suv taxi",
        "motorcycle": "motorcycle motorbike bike",
        "airplane": "airplane plane jet aircraft jetliner airliner",
        "bus": "bus vehicle",
        "train": "train locomotive",
        "truck": "truck vehicle van pickup",
        "boat": "boat ship canoe kayak raft sailboat vessel",
        "traffic light": "light traffic-light stoplight",
        "fire hydrant": "hydrant",
        "stop sign": "sign",
        "parking meter": "meter",
        "bird": "bird seagull duck goose pigeon owl parrot swan",
        "cat": "cat kitten kitty",
        "dog": "dog puppy",
        "horse": "horse pony",
        "sheep": "sheep lamb",
        "cow": "cow bull cattle calf ox",
        "bear": "bear cub",
        "backpack": "backpack bag",
        "handbag": "handbag bag purse",
        "suitcase": "suitcase luggage bag",
        "frisbee": "frisbee disc",
        "skis": "ski skis",
        "sports ball": "ball football basketball baseball",
        "baseball bat": "bat",
        "baseball glove": "glove mitt",
        "skateboard": "skateboard board",
        "snowboard": "snowboard board",
        "surfboard": "surfboard board",
        "tennis racket": "racket racquet",
        "wine glass": "glass wineglass",
        "cup": "cup mug",
        "hot dog": "hotdog dog",
        "donut": "donut doughnut pastry",
        "couch": "couch sofa",
        "potted plant": "plant",
        "dining table": "table",
        "tv": "tv television screen monitor",
        "laptop": "laptop computer",
        "remote": "remote controller wiimote",
        "cell phone": "phone cellphone smartphone",
        "oven": "oven stove",
        "refrigerator": "refrigerator fridge",
        "scissors": "scissors",
        "teddy bear": "teddy bear",
        "hair drier": "dryer hairdryer",
    }.items()
}


def singular(word: str) -> str:
    """The singular of an English noun in lower case, by rules and a short list; other words may be
    mangled.
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


def boxes_named(word: str, objects: Sequence[BoxedObject]) -> tuple[Box, ...]:
    """The boxes of the things that a word names; empty if there are none, or if it is ambiguous.

    A word names all things with this noun. If there are none, it names the photo's only thing of
    its
    kind ("guy" the only person, "puppy" the only animal), and "people" names all people.

    Args:
        word: any word, singular or plural, in upper or lower case.
        objects: the things on the photo.

    Returns:
        Boxes in fractions of the photo's width and height.
    """
    noun = singular(word)
    called = [thing for thing in objects if noun in thing.names]
    if not called:
        called = [thing for thing in objects if noun in KIND_WORDS.get(thing.kind, ())]
        if len(called) > 1 and noun != "person":
            return ()
    return tuple(box for thing in called for box in thing.boxes)
