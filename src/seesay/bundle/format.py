"""The format of a model bundle, and opening one.

A bundle is opened only if it is complete, undamaged and of a known format version.

A bundle is a folder of these files (others in it are ignored):

    manifest.json        format version, seesay's version, size and SHA-256 of every other file
    recipe.yaml          how the model was trained, every key
    tokenizer.json       the vocabulary with its normaliser (`tokenizers` format)
    preprocessing.json   photo -> input of the encoder (`seesay.data.images.ImageTransform`)
    search.json          the search options that the scores were measured with
    weights.safetensors  all weights, once; matrices in half precision
    encoder.onnx         photo -> memory and initial state; its weights point into weights.safetensors
    decoder.onnx         one step: word and state -> next word, state, attention; likewise
    decoder.int8.onnx    the same with matrices quantised to 8 bits when it is loaded; early bundles lack it
    encoder.int8.onnx    the same for convolutions; only for encoders that are plain convolutional networks
    confidence.json      how far to trust a caption (`seesay.bundle.confidence_file`), if it was calibrated
    confidence.safetensors    its matrices
    scores.json          scores on the dev split (empty until measured)
    README.md            the model card
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

from seesay.bundle.confidence_file import TENSORS, VALUES, ConfidenceHead, read_head
from seesay.bundle.fields import LARGEST, Fields
from seesay.bundle.search_file import read_search
from seesay.bundle.text_files import LARGEST_SIDE, read_preprocessing, read_scores, read_tokenizer
from seesay.bundle.weights_file import WEIGHTS
from seesay.data.images import ImageTransform
from seesay.data.tokens import CaptionTokenizer
from seesay.errors import BundleError, printable, shown
from seesay.search import BeamOptions
from seesay.version import __version__
from seesay.writing import write_json

FORMAT = "seesay-bundle"
FORMAT_VERSION = 1
MANIFEST = "manifest.json"
FILES = (
    "recipe.yaml",
    "tokenizer.json",
    "preprocessing.json",
    "search.json",
    WEIGHTS,
    "encoder.onnx",
    "decoder.onnx",
    "scores.json",
    "README.md",
)
LARGEST_WEIGHTS, LARGEST_GRAPH = 2**35, 2**31  # bytes; protobuf messages cannot be larger
ATTENTION = ("soft", "hard")
CONFIDENCE = (VALUES, TENSORS)
OPTIONAL = ("encoder.int8.onnx", "decoder.int8.onnx", *CONFIDENCE)


@dataclass(frozen=True)
class Bundle:
    """An opened bundle, without its weights: ONNX Runtime or torch reads them from `folder`.

    Attributes:
        folder: the bundle's folder.
        tokenizer: text <-> ids.
        transform: photo -> encoder input.
        search: default search options.
        grid: (rows, cols) of the attention.
        attention: "soft", or "hard": each token is predicted from a single region.
        scores: on the dev split; may be empty.
        confidence: how far to trust a caption; None if the bundle was not calibrated.
    """

    folder: Path
    tokenizer: CaptionTokenizer
    transform: ImageTransform
    search: BeamOptions
    grid: tuple[int, int]
    attention: str
    scores: dict[str, Any]
    confidence: ConfidenceHead | None = None

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """The recipe as nested plain values, with every key of `seesay.config.Recipe`.

        Keys of other versions are kept. The file is read on first use, because captioning does not
        need it and reading YAML takes as long as captioning a photo.

        Raises:
            BundleError: it is not YAML, or a value has another type or is out of range.
        """
        from seesay.bundle.recipe_file import read_recipe

        return read_recipe(self.folder / "recipe.yaml")

    @property
    def name(self) -> str:
        """The recipe's name, safe to print on a terminal."""
        return printable(self.recipe["name"])

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits that identify the bundle.

        They are a digest of the manifest, which has the digests of all other files.
        """
        return hashlib.sha256((self.folder / MANIFEST).read_bytes()).hexdigest()[:12]


def open_bundle(folder: str | Path) -> Bundle:
    """Verify a bundle and read it.

    Raises:
        BundleError: no bundle, another version of the format, a missing, changed or truncated file,
            or a value of the wrong type or out of range. (The recipe's values are checked by
            `Bundle.recipe`.)
    """
    folder = Path(folder)
    grid, attention, files = _read_manifest(folder)
    with ThreadPoolExecutor(1) as pool:  # hashing the weights takes as long as everything else here
        weights = pool.submit(_verify, folder / WEIGHTS, *files.pop(WEIGHTS))
        for name, (size, digest) in files.items():
            _verify(folder / name, size, digest)
        tokenizer = read_tokenizer(folder / "tokenizer.json")
        bundle = Bundle(
            folder=folder,
            tokenizer=tokenizer,
            transform=read_preprocessing(folder / "preprocessing.json"),
            search=read_search(folder / "search.json", len(tokenizer)),
            grid=grid,
            attention=attention,
            scores=read_scores(folder / "scores.json"),
            confidence=read_head(folder) if any(name in files for name in CONFIDENCE) else None,
        )
        weights.result()
    return bundle


def _read_manifest(folder: Path) -> tuple[tuple[int, int], str, dict[str, tuple[int, str]]]:
    """The grid, the kind of attention, and size and SHA-256 of each file."""
    path, shown_folder = folder / MANIFEST, printable(folder)
    if not folder.is_dir():
        raise BundleError(f"bundle {shown_folder}: no such folder")
    if not path.is_file():
        inside = folder / "bundle"  # the folder of a run was given
        near = f". Did you mean '{printable(inside)}'?" if (inside / MANIFEST).is_file() else ""
        raise BundleError(f"bundle {shown_folder}: no {MANIFEST} in it, so it is no seesay bundle{near}")
    fields = Fields(path)
    if (kind := fields.text("format")) != FORMAT:
        raise BundleError(f"bundle {shown_folder}: format is {shown(kind)}, expected '{FORMAT}'")
    version = fields.whole("format_version", 1, 1_000_000)
    writer = fields.text("seesay", longest=40, default="?")
    if version != FORMAT_VERSION:
        raise BundleError(
            f"bundle {shown_folder}: format version {version}, this seesay ({__version__}) reads "
            f"{FORMAT_VERSION}; it was written by seesay {printable(writer)}"
        )
    files = fields.section("files")
    if not set(FILES) <= set(files.values) <= {*FILES, *OPTIONAL}:
        fields.refuse("does not list the files of the format, and no others")
    entries = {name: files.section(name) for name in files.values}
    rows, cols = fields.wholes("grid", 1, LARGEST_SIDE, (2, 2))
    if rows != cols:
        fields.refuse(f"grid=[{rows}, {cols}]: a photo is made square, so expected as many rows as columns")
    attention = fields.text("attention", choices=ATTENTION, default="soft")
    return (
        (rows, cols),
        attention,
        {
            name: (entry.whole("bytes", 0, _most_bytes(name)), entry.text("sha256", longest=64))
            for name, entry in entries.items()
        },
    )


def _most_bytes(name: str) -> int:
    """The size limit of a file; the checksum of a terabyte would take an hour."""
    kind = name.rpartition(".")[2]
    return {"safetensors": LARGEST_WEIGHTS, "onnx": LARGEST_GRAPH}.get(kind, LARGEST)


def _verify(path: Path, expected: int, digest: str) -> None:
    if not path.is_file():
        raise BundleError(f"bundle {printable(path.parent)}: {path.name} is missing")
    if (size := path.stat().st_size) != expected:
        raise BundleError(f"bundle {printable(path.parent)}: {path.name} has {size} bytes, expected {expected}")
    if _sha256(path) != digest:
        raise BundleError(
            f"bundle {printable(path.parent)}: {path.name} was changed: its SHA-256 is not the manifest's"
        )


@contextmanager
def bundle_being_written(folder: Path) -> Iterator[Path]:
    """A scratch folder that replaces `folder` when the block ends without an error.

    Readers of `folder` see the old bundle or the new one; between the two renames there is none for
    an instant.
    """
    folder = folder.resolve()  # "." and links cannot be renamed
    scratch = folder.with_name(f".{folder.name}.new")
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        yield scratch
        shutil.rmtree(old, ignore_errors=True)
        if folder.exists():
            folder.rename(old)
        scratch.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def write_manifest(folder: Path, grid: tuple[int, int], attention: str = "soft") -> None:
    """Write the manifest of a folder with all of `FILES` and any of `OPTIONAL`.

    Args:
        folder: the bundle's folder.
        grid: (rows, cols) of the attention.
        attention: "soft" or "hard".
    """
    names = (*FILES, *(name for name in OPTIONAL if (folder / name).is_file()))
    files = {name: {"bytes": (folder / name).stat().st_size, "sha256": _sha256(folder / name)} for name in names}
    manifest = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "seesay": __version__,
        "grid": list(grid),
        "attention": attention,
        "files": files,
    }
    write_json(folder / MANIFEST, manifest)


def _sha256(path: Path) -> str:
    if not path.stat().st_size:  # an empty file cannot be mapped
        return hashlib.sha256().hexdigest()
    # As one buffer: after each part of a file the thread would wait for Python's lock.
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        return hashlib.sha256(data).hexdigest()
