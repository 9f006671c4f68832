"""Words that name things: their synonyms, and what each thing is a kind of.

A reference supports a word if it names the same thing, by the same noun, a synonym, or a noun for a kind of it: a
"puppy" is a dog, a "boy" is a child and a person. The reverse does not hold: "a person" does not make the word "man"
right.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from seesay.data.nouns import singular

# Each line: a thing (its synonyms behind "="), then its kinds, whose own kinds have a line of their own.
_KINDS = """
person=human=individual=someone=somebody: adult man woman child player athlete rider worker performer crowd couple
adult=grown-up: man woman
man=guy=gentleman=male=dude=fellow: businessman cowboy fisherman policeman fireman groom
woman=lady=female: bride
child=kid=youngster: boy girl baby=infant toddler
player=athlete: football-player=footballer batter=hitter catcher pitcher goalie quarterback referee=umpire
rider: skateboarder=skater surfer snowboarder skier biker=cyclist=bicyclist motorcyclist wakeboarder kayaker jockey
worker: officer cop chef=cook waiter waitress vendor
performer: dancer musician singer guitarist gymnast
traveler: hiker climber jogger runner swimmer
animal=creature: dog cat horse cow=bull=cattle=calf sheep=lamb goat pig elephant giraffe zebra bear bird monkey deer
animal: lion tiger rabbit fish dolphin turtle herd
dog=hound=canine=doggy: puppy=pup greyhound poodle retriever labrador=lab terrier collie bulldog shepherd
cat=kitty=feline: kitten
horse: pony foal
bear: cub
bird: duck goose seagull=gull pigeon owl parrot swan eagle
vehicle: car=automobile truck=pickup bus van suv taxi=cab motorcycle=motorbike bicycle=bike train=locomotive scooter
vehicle: boat=ship=vessel airplane=plane=jet=aircraft tractor jeep ambulance cart wagon
boat: canoe kayak raft sailboat ferry
food=meal=dish: pizza sandwich=burger=hamburger hotdog fruit vegetable=veggie salad cake donut=doughnut meat bread
food: soup rice pasta cheese pastry dessert
fruit: banana apple orange strawberry
vegetable: broccoli carrot tomato potato
plant: tree flower bush leaf
tree: palm pine
furniture: chair=seat couch=sofa table=desk bed bench=pew cabinet dresser stool
appliance: refrigerator=fridge stove=oven microwave toaster blender
device: laptop=computer keyboard mouse phone=cellphone=smartphone television=tv monitor=screen remote camera microphone
fixture: sink toilet bathtub=tub shower
container: bowl cup=mug glass bottle vase box basket bucket suitcase=luggage bag=backpack=purse=handbag
utensil: fork knife spoon
clothing=clothes=outfit: shirt=t-shirt=tshirt=top jacket=coat dress=gown suit pants=jeans=trousers shorts skirt uniform
clothing: hat=cap=helmet sweater=sweatshirt=hoodie swimsuit=bikini=trunks wetsuit costume jersey tie vest robe
eyewear: sunglasses glasses goggles
ball: football soccer-ball basketball baseball volleyball
toy: doll teddy=teddy-bear frisbee=disc kite balloon
board: skateboard surfboard=surf-board snowboard
racket=racquet
bat
ski
guitar
umbrella
flag
rope
stick=branch
sign
clock
book
mirror
picture=photo=photograph=painting
water: ocean=sea=surf lake river=stream=creek pond pool puddle waterfall wave
land: beach=shore field=meadow=pasture yard=lawn hill=slope mountain=cliff desert forest=woods
ground: grass dirt=mud sand snow=ice pavement=sidewalk=concrete
road=street=highway: path=trail track alley
building=structure: house church tower store=shop restaurant barn skyscraper
room: kitchen bathroom bedroom office classroom
city=town
station
airport: runway
bridge
fence
wall
window
door=doorway
court
rock=boulder=stone
stairs=steps=staircase
slide
swing
trampoline
fountain
statue=sculpture
tent
fire=flame
hydrant
pole=post
rail=railing
ramp
tunnel
"""


def _read() -> tuple[dict[str, str], dict[str, list[str]]]:
    """(word -> the name of its thing, name of a thing -> names of the kinds that list it)."""
    names: dict[str, str] = {}
    above: dict[str, list[str]] = {}
    for line in _KINDS.split("\n"):
        head, _, kinds = line.partition(":")
        if not head:
            continue
        plain = _name(head, names)
        for kind in kinds.split():
            above.setdefault(_name(kind, names), []).append(plain)
    return names, above


def _name(synonyms: str, names: dict[str, str]) -> str:
    first, *others = synonyms.strip().split("=")
    name = names.setdefault(first, first)
    names.update(dict.fromkeys(others, name))
    return name


_NAMES, _ABOVE = _read()
THINGS = frozenset(_NAMES)
"""All words that name things, in the singular."""


@cache
def thing_of(word: str) -> str | None:
    """The name of the thing that a word stands for ("guys" -> "man"), or None."""
    return _NAMES.get(word) or _NAMES.get(singular(word))


@cache
def plainer(thing: str) -> tuple[str, ...]:
    """The kinds that a thing belongs to, nearest first: "boy" -> "child", "person"."""
    found: list[str] = []
    nearest = list(_ABOVE.get(thing, ()))
    while nearest:
        name = nearest.pop(0)
        if name not in found:
            found.append(name)
            nearest += _ABOVE.get(name, ())
    return tuple(found)


def supports(named: Iterable[str]) -> frozenset[str]:
    """The things that these words support: the things that they name, and the kinds of these."""
    things = {thing for word in named if (thing := thing_of(word))}
    return frozenset(things.union(*map(plainer, things)))
