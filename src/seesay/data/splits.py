"""Splitting into train, dev and test: by the data set's own splits, lists of ids, or fractions."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

from seesay.data.records import SPLIT_ALIASES, SPLITS, CaptionRecord, Problem
from seesay.data.split_lists import IdList, PhotoLookup, karpathy_ids, karpathy_lists, read_lists, text_lists
from seesay.data.text import count_of, first_few
from seesay.errors import DataError, did_you_mean

SplitSpec = str | Path | Mapping[str, float]
DEFAULT_FRACTIONS = {"train": 0.8, "dev": 0.1, "test": 0.1}
Result = tuple[list[CaptionRecord], list[Problem]]


def assign_splits(
    records: Sequence[CaptionRecord], spec: SplitSpec, *, beside: Sequence[Path], karpathy: bool = False
) -> Result:
    """Assign a split to every record.

    Args:
        records: records with the split that their layout gives, or "".
        spec: "auto" (as the data says, else fractions), "karpathy", a folder with train.txt,
            dev.txt or val.txt, test.txt, a JSON file as Karpathy's or with ids by split, or
            fractions as a mapping or as "0.8/0.1/0.1" (train, dev, test).
        beside: the folders where "auto" looks for id lists and Karpathy's files, the likeliest
            first.
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
    # A few photos may have such a number by chance; the others should not be left out then.
    if karpathy and 2 * sum(record.image.stem in karpathy_ids() for record in records) >= len(records):
        return by_lists(records, karpathy_lists())
    records, problems = by_fractions(records, DEFAULT_FRACTIONS)
    shares = ", ".join(f"{split} {share:.0%}" for split, share in DEFAULT_FRACTIONS.items())
    note = f"the data has none: drawn by each photo's id ({shares})"
    return records, [replace(problems[0], what=f"{note}; {problems[0].what}"), *problems[1:]]


def _lists_beside(records: Sequence[CaptionRecord], folder: Path) -> list[IdList]:
    """The id lists of a folder, or else of a Karpathy file in it that names most of the photos."""
    if lists := text_lists(folder):
        return lists
    lookup = PhotoLookup(records)
    for file in sorted(folder.glob("dataset*.json")):
        lists = read_lists(file)
        if 2 * sum(bool(lookup.find(name)) for ids in lists for name in ids.ids) >= len(records):
            return lists
    return []


def by_lists(records: Sequence[CaptionRecord], lists: Iterable[IdList]) -> Result:
    """Assign splits by lists of ids.

    Photos in no list get "", and photos in two lists get the later split.

    Raises:
        DataError: none of the photos is in any list.
    """
    lookup = PhotoLookup(records)
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
    problems += [_missing_note(label, names) for label, names in missing.items()]
    split_of = {id_: ids.split for id_, ids in chosen.items()}
    return [replace(record, split=split_of.get(record.id, "")) for record in records], problems


def by_fractions(records: Sequence[CaptionRecord], fractions: Mapping[str, float]) -> Result:
    """Assign splits by a hash of each id.

    So a photo's split depends neither on a seed nor on other photos. A split that would be empty,
    as may happen with few photos, gets the photo whose hash is nearest to it.
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
    return [replace(record, split=split_of[record.id]) for record in records], [_size_note(split_of), *problems]


def _size_note(split_of: Mapping[str, str]) -> Problem:
    """A note with the sizes of the drawn splits, which for few photos differ from the fractions."""
    counts = Counter(split_of.values())
    parts = [f"{counts[split]:,} {split or 'in none'}" for split in (*SPLITS, "") if counts[split]]
    return Problem("note", "splits", f"of {count_of(len(split_of), 'photo')} came out {', '.join(parts)}")


def limit_splits(records: Sequence[CaptionRecord], limit: int, seed: int) -> list[CaptionRecord]:
    """At most `limit` photos per split, chosen by a hash of id and seed, in their order."""
    if limit < 1:
        raise DataError(f"limit: got {limit}, expected a number of photos per split of 1 or more")
    chosen: set[str] = set()
    for split in {record.split for record in records}:
        ids = [record.id for record in records if record.split == split]
        chosen.update(sorted(ids, key=lambda id_: _place(id_, f"limit {seed}"))[:limit])
    return [record for record in records if record.id in chosen]


def part_of(records: Sequence[CaptionRecord], which: int, of: int, left_out: bool = False) -> list[CaptionRecord]:
    """Every `of`-th photo, beginning with the `which`-th (from 1), or all other photos.

    Raises:
        DataError: there is none.
    """
    part = [record for i, record in enumerate(records) if (i % of == which - 1) != left_out]
    if not part:
        what = f"all but part {which} of {of}" if left_out else f"part {which} of {of}"
        raise DataError(f"{what} of {count_of(len(records), 'training photo')} has none; give fewer parts")
    return part


def _in_two(label: str, other: str, names: Sequence[str]) -> Problem:
    what = f"{count_of(len(names), 'id')} also in {other}, kept there ({first_few(names)})"
    return Problem("error", label, what)


def _missing_note(label: str, names: Sequence[str]) -> Problem:
    return Problem(
        "note", label, f"{count_of(len(names), 'id')} without a photo with captions here ({first_few(names)})"
    )


def _place(id_: str, salt: str) -> float:
    """A number in [0, 1) that depends on the arguments alone."""
    text = f"{salt} {id_}".encode(errors="surrogatepass")  # a file's name may not be valid Unicode
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
