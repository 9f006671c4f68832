"""WebDataset: tars of samples, each a photo with a .json or .txt of the same name."""

from __future__ import annotations

import tarfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from seesay.data.packed import Packed, unpacked_folder
from seesay.data.readers.columns import Columns
from seesay.data.readers.photo_finder import is_hidden, listed_files, normal_name
from seesay.data.readers.samples import TEXTS, is_photo, sample_rows, split_key
from seesay.data.readers.source import CaptionFile, Layout, Row, Source, split_folders, split_in_name
from seesay.data.records import Problem
from seesay.data.sources.tars import COMPRESSED, TarMember

SUFFIXES = (".tar", ".tar.gz", ".tgz")


@dataclass
class _Sample:
    """Files that share a name: the first photo, and the texts by extension."""

    photo: str = ""
    texts: dict[str, bytes] = field(default_factory=dict)


def _find(folder: Path, _: Columns) -> list[Path]:
    return [file for place in split_folders(folder) for file in listed_files(place, SUFFIXES)]


def _read(source: Source) -> list[CaptionFile]:
    return [_shard(source, file) for file in source.files]


def _shard(source: Source, file: Path) -> CaptionFile:
    label = source.label(file)
    within = split_in_name(file.parent.name) if file.parent != source.folder else ""
    samples, members, problems = _scan(file, label, (*source.columns.caption, *TEXTS))
    rows: list[Row | Problem] = [*problems]
    for sample in samples.values():
        if sample.photo and sample.texts:
            split = split_in_name(file.name.partition(".")[0]) or within
            rows += sample_rows(sample.photo, sample.texts, label, split, source.columns)
    sizes = {name: member.size for name, member in members.items()}
    readable = {} if file.name.lower().endswith(COMPRESSED) else members
    packed = Packed(unpacked_folder(file), sizes, partial(_photos, file), readable)
    return CaptionFile(file, rows, [packed.folder], packed=packed)


def _scan(
    file: Path, label: str, extensions: Collection[str]
) -> tuple[dict[str, _Sample], dict[str, TarMember], list[Problem]]:
    """Read the texts in a tar and list its photos.

    Returns:
        The samples by key, the place of each photo in the tar, and problems.
    """
    samples: dict[str, _Sample] = {}
    members: dict[str, TarMember] = {}
    problems: list[Problem] = []
    try:
        with tarfile.open(file) as tar:
            for member in tar:
                name = normal_name(member.name)
                key, extension = split_key(name)
                if not member.isfile() or is_hidden(name.rpartition("/")[2]):
                    continue
                if name.startswith(("/", "../")):
                    problems.append(Problem("error", f"{label}:{name}", "leads out of its folder: left out"))
                elif is_photo(extension):
                    members[name] = TarMember(f"{file}/{name}", str(file), member.offset_data, member.size)
                    sample = samples.setdefault(key, _Sample())
                    sample.photo = sample.photo or name
                elif extension in extensions and (content := tar.extractfile(member)):
                    samples.setdefault(key, _Sample()).texts[extension] = content.read()
    except (tarfile.TarError, EOFError, OSError) as error:
        problems.append(Problem("error", label, f"damaged, read up to there ({error}); copy it again"))
    return samples, members, problems


def _photos(file: Path, names: Collection[str]) -> Iterator[tuple[str, bytes]]:
    left = set(names)
    try:
        with tarfile.open(file) as tar:
            for member in tar:
                name = normal_name(member.name)
                if name in left and member.isfile() and (content := tar.extractfile(member)):
                    left.discard(name)
                    yield name, content.read()
    except (tarfile.TarError, EOFError, OSError):
        return  # reported when it was scanned; photos that are missing then count as unreadable


LAYOUT = Layout("webdataset", "*.tar of photos with a .json or .txt each", _find, _read)
