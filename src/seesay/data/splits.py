"""Which photos are for training, choosing and testing: from what the data brings, id lists, or fractions."""

from __future__ import annotations

import functools
import hashlib
import importlib.resources
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from seesay.data.images import photo_suffixes
from seesay.data.records import SPLIT_ALIASES, SPLITS, CaptionRecord, Problem
from seesay.data.text import count_of, first_few, one_form, read_lines, read_text, without_suffix
from seesay.errors import DataError, did_you_mean

SplitSpec = str | Path | Mapping[str, float]
DEFAULT_FRACTIONS = {"train": 0.8, "dev": 0.1, "test": 0.1}
LIST_NAME = re.compile(r"(?:flickr_?\d+k\.)?([a-z]+?)(?:images)?\.txt", re.IGNORECASE)  # Flickr_8k.trainImages.txt
Result = tuple[list[CaptionRecord], list[Problem]]


class IdList(NamedTuple):
    """Ids or file names of the photos of one split, and the file's name for messages."""

    split: str
    label: str
    ids: Sequence[str]


def assign_splits(
    records: Sequence[CaptionRecord], spec: SplitSpec, *, beside: Sequence[Path], karpathy: bool = False
) -> Result:
    """Give every record its split.

    Args:
        records: with the split that the layout itself gives, or "".
        spec: "auto" (what the data brings, else fractions), "karpathy", a folder with train.txt, dev.txt or
            val.txt, test.txt, a JSON file as Karpathy's or with ids by split, or fractions as a mapping or as
            "0.8/0.1/0.1" (train, dev, test).
        beside: the folders where "auto" looks for id lists and Karpathy's files, the likeliest first.
        karpathy: whether "auto" may use Karpathy's ids.

    Raises:
        DataError: `spec` is none of these, or gives no photo a split.
    """
    if spec == "auto":
        records, problems = _auto(records, beside, karpathy)
    elif spec == "karpathy":
        records, problems = by_lists(records, karpathy_lists())
    elif fractions := _fractions(spec):
        records, problems = by_fractions(records, fractions)
    else:
        records, problems = by_lists(records, read_lists(_list_path(spec)))
    left = sum(not record.split for record in records)
    if left:
        problems.append(Problem("note", "splits", f"{count_of(left, 'photo')} in no split"))
    return list(records), problems


def _auto(records: Sequence[CaptionRecord], beside: Sequence[Path], karpathy: bool) -> Result:
    if any(record.split for record in records):
        return list(records), []
    for folder in dict.fromkeys(beside):
        if lists := _lists_beside(records, folder):
            return by_lists(records, lists)
    # A few photos that happen to bear such a number are no reason to leave all others out.
    if karpathy and 2 * sum(record.image.stem in karpathy_ids() for record in records) >= len(records):
        return by_lists(records, karpathy_lists())
    records, problems = by_fractions(records, DEFAULT_FRACTIONS)
    shares = ", ".join(f"{split} {share:.0%}" for split, share in DEFAULT_FRACTIONS.items())
    note = f"the data brings none: drawn by each photo's id ({shares})"
    return records, [replace(problems[0], what=f"{note}; {problems[0].what}"), *problems[1:]]


def _lists_beside(records: Sequence[CaptionRecord], folder: Path) -> list[IdList]:
    """The id lists of a folder; where it has none, a file of Karpathy's that names most of the photos."""
    if lists := _text_lists(folder):
        return lists
    lookup = _Lookup(records)
    for file in sorted(folder.glob("dataset*.json")):
        lists = read_lists(file)
        if 2 * sum(bool(lookup.find(name)) for ids in lists for name in ids.ids) >= len(records):
            return lists
    return []


def by_lists(records: Sequence[CaptionRecord], lists: Iterable[IdList]) -> Result:
    """Splits from lists of ids; photos in none get ""; what stands in two lists stays in the later split.

    Raises:
        DataError: none of the photos is in any list.
    """
    lookup = _Lookup(records)
    chosen: dict[str, IdList] = {}
    missing: dict[str, list[str]] = {}
    problems: list[Problem] = []
    for ids in sorted(lists, key=lambda ids: -SPLITS.index(ids.split)):
        twice: dict[str, list[str]] = {}
        for name in dict.fromkeys(ids.ids):
            id_ = lookup.find(name)
            if not id_:
                missing.setdefault(ids.label, []).append(name)
            elif chosen.setdefault(id_, ids).split != ids.split:
                twice.setdefault(chosen[id_].label, []).append(name)
        problems += [_in_two(ids.label, other, names) for other, names in twice.items()]
    if not chosen:
        some = first_few([record.id for record in records])
        raise DataError(f"splits: the lists {', '.join(missing)} name none of the {len(records):,} photos ({some})")
    problems += [_not_here(label, names) for label, names in missing.items()]
    split_of = {id_: ids.split for id_, ids in chosen.items()}
    return [replace(record, split=split_of.get(record.id, "")) for record in records], problems


def by_fractions(records: Sequence[CaptionRecord], fractions: Mapping[str, float]) -> Result:
    """Splits from a hash of each id, and of nothing else: photos added later move no other, and no seed does.

    Only where a split would stay empty, as happens with a handful of photos, does it get the one nearest to it.
    """
    bounds = list(accumulate(fractions.get(split, 0.0) for split in SPLITS))
    bounds = [1.0 if abs(bound - 1) < 1e-6 else bound for bound in bounds]
    places = {record.id: _place(record.id, "split 0") for record in records}
    split_of = {
        id_: next((split for split, bound in zip(SPLITS, bounds, strict=True) if place < bound), "")
        for id_, place in places.items()
    }
    problems = []
    for split, bound in zip(SPLITS, bounds, strict=True):
        largest, count = Counter(split_of.values()).most_common(1)[0]
        if fractions.get(split) and split not in split_of.values() and count > 1:
            nearest = min(
                (id_ for id_ in split_of if split_of[id_] == largest), key=lambda id_: abs(places[id_] - bound)
            )
            split_of[nearest] = split
            problems.append(
                Problem("note", "splits", f"{split} would be empty: it gets '{nearest}' of {largest or 'no split'}")
            )
    return [replace(record, split=split_of[record.id]) for record in records], [_came_out(split_of), *problems]


def _came_out(split_of: Mapping[str, str]) -> Problem:
    """What the draw gave: of few photos the shares are far from those asked for."""
    counts = Counter(split_of.values())
    parts = [f"{counts[split]:,} {split or 'in none'}" for split in (*SPLITS, "") if counts[split]]
    return Problem("note", "splits", f"of {count_of(len(split_of), 'photo')} came out {', '.join(parts)}")


def limit_splits(records: Sequence[CaptionRecord], limit: int, seed: int) -> list[CaptionRecord]:
    """At most `limit` photos of each split, chosen by a hash of id and seed, in the order they had."""
    if limit < 1:
        raise DataError(f"limit: got {limit}, expected a number of photos per split of 1 or more")
    chosen: set[str] = set()
    for split in {record.split for record in records}:
        ids = [record.id for record in records if record.split == split]
        chosen.update(sorted(ids, key=lambda id_: _place(id_, f"limit {seed}"))[:limit])
    return [record for record in records if record.id in chosen]


def part_of(records: Sequence[CaptionRecord], which: int, of: int, left_out: bool = False) -> list[CaptionRecord]:
    """Every `of`-th photo, beginning with the `which`-th (from 1), in the order they have; or all but those.

    Raises:
        DataError: there is none.
    """
    part = [record for i, record in enumerate(records) if (i % of == which - 1) != left_out]
    if not part:
        what = f"all but part {which} of {of}" if left_out else f"part {which} of {of}"
        raise DataError(f"{what} of {count_of(len(records), 'training photo')} has none; give fewer parts")
    return part


@functools.cache
def karpathy_lists() -> tuple[IdList, ...]:
    """Karpathy's 29,000 / 1,014 / 1,000 photos of Flickr30k."""
    file = importlib.resources.files("seesay.data") / "karpathy_flickr30k.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    return tuple(IdList(split, "Karpathy's Flickr30k ids", [str(id_) for id_ in content[split]]) for split in SPLITS)


@functools.cache
def karpathy_ids() -> frozenset[str]:
    """All numbers of Flickr30k's photos in these lists."""
    return frozenset(id_ for ids in karpathy_lists() for id_ in ids.ids)


def photo_key(name: str) -> str:
    """Flickr's or COCO's number of a photo, which it has wherever it is copied to; "" for any other file name.

    Flickr8k's 1000268201_693b08cb0e.jpg is Flickr30k's 1000268201.jpg; COCO_val2014_000000000042.jpg is
    000000000042.jpg of 2017. But the 0001.jpg, cover.jpg or 20240101.jpg of two folders have nothing in common.
    """
    stem = without_suffix(name)
    if known := re.fullmatch(r"(\d{5,})_([0-9a-f]{8,})|(?:COCO_[a-z]+\d{4}_)?(0{6}\d{6})", stem):
        is_date = known[1] and len(known[1]) == 8 and known[2].isdigit()  # as in 20240101_12000001
        return "" if is_date else known[1] or known[3]
    return stem if stem in karpathy_ids() else ""


class _Lookup:
    """Ids of photos by their id, file name, stem, and number at Flickr or COCO; names that several share are none."""

    def __init__(self, records: Sequence[CaptionRecord]) -> None:
        self._records = records
        self._names: dict[str, str] = {}
        for record in records:
            for name in {one_form(record.image.name), one_form(record.image.stem)}:
                self._names[name] = record.id if self._names.get(name, record.id) == record.id else ""
        self._names |= {one_form(record.id): record.id for record in records}

    def find(self, name: str) -> str:
        """The id of the photo that a list calls so, or ""."""
        if found := self._names.get(name):
            return found
        whole = one_form(name)
        if found := self._names.get(whole) or self._names.get(without_suffix(whole)):
            return found
        last = whole.rpartition("/")[2]
        key = photo_key(last)
        found = self._names.get(last) or self._names.get(key) or self._numbers.get(key, "")
        return "" if "/" in whole and "/" in found else found  # x/1.jpg is not y/1.jpg

    @functools.cached_property
    def _numbers(self) -> dict[str, str]:
        """Ids by the photos' numbers."""
        numbers: dict[str, str] = {"": ""}
        for record in self._records:
            if key := photo_key(record.image.name):
                numbers[key] = record.id if numbers.get(key, record.id) == record.id else ""
        return numbers


def _in_two(label: str, other: str, names: Sequence[str]) -> Problem:
    what = f"{count_of(len(names), 'id')} also in {other}, kept there ({first_few(names)})"
    return Problem("error", label, what)


def _not_here(label: str, names: Sequence[str]) -> Problem:
    return Problem(
        "note", label, f"{count_of(len(names), 'id')} without a photo with captions here ({first_few(names)})"
    )


def _place(id_: str, salt: str) -> float:
    """A number in [0, 1) that depends on nothing but its arguments, on any machine."""
    text = f"{salt} {id_}".encode(errors="surrogatepass")  # a file's name need not be text
    return int.from_bytes(hashlib.blake2b(text, digest_size=6).digest()) / 2**48


def _fractions(spec: SplitSpec) -> dict[str, float] | None:
    """{"train": 0.8, ...} if `spec` is fractions, None if it is something else."""
    if isinstance(spec, str):
        parts = spec.split("/")
        if not all(part.replace(".", "", 1).strip().isdigit() for part in parts):
            return None
        if len(parts) != len(SPLITS):
            raise DataError(f"splits: got '{spec}', expected three fractions such as 0.8/0.1/0.1 (train/dev/test)")
        spec = dict(zip(SPLITS, map(float, parts), strict=True))
    if not isinstance(spec, Mapping):
        return None
    unknown = [name for name in spec if name not in SPLIT_ALIASES]
    if unknown:
        near = did_you_mean(str(unknown[0]), SPLIT_ALIASES)
        raise DataError(f"splits: unknown split '{unknown[0]}'; expected train, dev, test.{near}")
    fractions = {SPLIT_ALIASES[name]: float(share) for name, share in spec.items()}
    if min(fractions.values(), default=0) < 0 or not 0 < sum(fractions.values()) < 1 + 1e-6:
        raise DataError(f"splits: got fractions {dict(spec)}; expected none below 0, and a sum above 0 and at most 1")
    return fractions


def _list_path(spec: object) -> Path:
    path = Path(str(spec)).expanduser()
    if not path.exists():
        near = did_you_mean(str(spec), ("auto", "karpathy"))
        raise DataError(
            f"splits: '{spec}' is no folder; expected auto, karpathy, a folder with train.txt, dev.txt, "
            f"test.txt, a JSON file of splits such as Karpathy's, or fractions such as 0.8/0.1/0.1.{near}"
        )
    return path


def read_lists(path: Path) -> list[IdList]:
    """The lists of a folder, one id or file name a line, or those of a JSON file.

    Args:
        path: a folder with train.txt, ...; or JSON: Karpathy's, or {"train": [ids], "val": [ids], ...}.

    Raises:
        DataError: there is none.
    """
    if path.is_file():
        return _json_lists(path)
    if lists := _text_lists(path):
        return lists
    raise DataError(f"splits: {path} has none of train.txt, dev.txt (or val.txt), test.txt")


def _text_lists(folder: Path) -> list[IdList]:
    """The id lists of a folder; test.txt beside test.jpg is no list but that photo's caption."""
    try:
        names = sorted(file.name for file in folder.iterdir() if file.suffix.lower() == ".txt")
    except OSError:
        return []
    lists = []
    for name in names:
        found = LIST_NAME.fullmatch(name)
        split = SPLIT_ALIASES.get(found[1].lower(), "") if found else ""
        if split and not _has_photo(folder / name):
            lines = read_lines(folder / name)
            lists.append(IdList(split, name, [line.strip() for line in lines if line.strip()]))
    return lists


def _has_photo(file: Path) -> bool:
    return any(file.with_suffix(suffix).is_file() for suffix in photo_suffixes())


def _json_lists(path: Path) -> list[IdList]:
    try:
        content = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise DataError(f"splits: {path}:{error.lineno}: not JSON ({error.msg})") from None
    lists: dict[str, list[str]] = {}
    images = content.get("images") if isinstance(content, dict) else None
    if isinstance(images, list):
        for item in images:
            if isinstance(item, dict) and isinstance(item.get("filename"), str):
                lists.setdefault(str(item.get("split")), []).append(item["filename"])
    elif isinstance(content, dict):
        lists = {name: [str(id_) for id_ in ids] for name, ids in content.items() if isinstance(ids, list)}
    known = {name: split for name in lists if (split := SPLIT_ALIASES.get(name.strip().lower()))}
    if not known:
        raise DataError(
            f"splits: {path}: names no split; expected Karpathy's images with filename and split, or lists of ids "
            'under "train", "val" and "test"'
        )
    return [IdList(split, f"{path.name} ({name})", lists[name]) for name, split in known.items()]
