"""Deciding which objects a word names, by its singular noun or by another noun for their kind."""

from __future__ import annotations

from collections.abc import Sequence

from seesay.data.nouns import singular
from seesay.data.records import BoxedObject
from seesay.geometry import Box

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


def boxes_named(word: str, objects: Sequence[BoxedObject]) -> tuple[Box, ...]:
    """The boxes of the things that a word names; empty if there are none, or if it is ambiguous.

    A word names all things with this noun. If there are none, it names the photo's only thing of
    the kind that it stands for: "guy" names the only person and "puppy" the only animal. "people"
    names all people.

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
