"""What a model bundle is on disk, and how one is opened: complete, unharmed and of a known format, or refused.

A folder of these files (others in it are left alone):

    manifest.json        format version, seesay's version, size and SHA-256 of every other file
    recipe.yaml          how the model was made, every key
    tokenizer.json       the vocabulary with its normaliser (`tokenizers` format)
    preprocessing.json   photo -> input of the encoder (`seesay.data.images.ImageTransform`)
    search.json          the search that the scores were taken with
    weights.safetensors  all weights, once; matrices in half precision
    encoder.onnx         photo -> memory and first state; points into weights.safetensors
    decoder.onnx         one step: word and state -> next word, state, attention; likewise
    decoder.int8.onnx    the same, its matrices rounded to 8 bits when it is opened; early bundles lack it
    encoder.int8.onnx    likewise, its convolutions; where the encoder is a plain network of these
    scores.json          figures on the dev split (empty until measured)
    README.md            the model card
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

import seesay
from seesay.data.images import ImageTransform
from seesay.data.tokens import CaptionTokenizer
from seesay.errors import BundleError
from seesay.search import SearchOptions
from seesay.writing import write_json

FORMAT = "seesay-bundle"
FORMAT_VERSION = 1
MANIFEST = "manifest.json"
FILES = (
    "recipe.yaml",
    "tokenizer.json",
    "preprocessing.json",
    "search.json",
    "weights.safetensors",
    "encoder.onnx",
    "decoder.onnx",
    "scores.json",
    "README.md",
)
OPTIONAL = ("encoder.int8.onnx", "decoder.int8.onnx")


@dataclass(frozen=True)
class Bundle:
    """An opened bundle; everything but the weights, which ONNX Runtime or torch read from `folder`.

    Attributes:
        folder: where it lies.
        recipe: nested plain values of `seesay.config.Recipe`.
        tokenizer: text <-> ids.
        transform: photo -> encoder input.
        search: default search options.
        grid: (rows, cols) of the attention.
        scores: figures on the dev split, may be empty.
    """

    folder: Path
    recipe: dict[str, Any]
    tokenizer: CaptionTokenizer
    transform: ImageTransform
    search: SearchOptions
    grid: tuple[int, int]
    scores: dict[str, Any]

    @property
    def name(self) -> str:
        """The recipe's name."""
        return str(self.recipe["name"])


def open_bundle(folder: str | Path) -> Bundle:
    """Verify a bundle and read it.

    Raises:
        BundleError: no bundle there, a format of another version, a file missing, changed or cut short.
    """
    folder = Path(folder)
    manifest = _read_manifest(folder)
    for name, entry in manifest["files"].items():
        _verify(folder / name, entry)
    try:
        return Bundle(
            folder=folder,
            recipe=yaml.safe_load((folder / "recipe.yaml").read_text(encoding="utf-8")),
            tokenizer=CaptionTokenizer.from_json((folder / "tokenizer.json").read_text(encoding="utf-8")),
            transform=ImageTransform.from_dict(_json(folder / "preprocessing.json")),
            search=SearchOptions(**_json(folder / "search.json")),
            grid=(int(manifest["grid"][0]), int(manifest["grid"][1])),
            scores=_json(folder / "scores.json"),
        )
    except Exception as error:  # checksums agree, so whoever wrote it wrote something else than we read
        raise BundleError(f"bundle {folder}: cannot be read ({type(error).__name__}: {error})") from error


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not folder.is_dir():
        raise BundleError(f"bundle {folder}: no such folder")
    if not path.is_file():
        inside = folder / "bundle"  # where a run has it
        near = f". Did you mean '{inside}'?" if (inside / MANIFEST).is_file() else ""
        raise BundleError(f"bundle {folder}: no {MANIFEST} in it, so it is no seesay bundle{near}")
    try:
        manifest = _json(path)
        kind, version = manifest["format"], manifest["format_version"]
    except (ValueError, KeyError, TypeError):
        raise BundleError(f"bundle {folder}: {MANIFEST} is damaged") from None
    if kind != FORMAT:
        raise BundleError(f"bundle {folder}: format is '{kind}', expected '{FORMAT}'")
    if version != FORMAT_VERSION:
        raise BundleError(
            f"bundle {folder}: format version {version}, this seesay ({seesay.__version__}) reads {FORMAT_VERSION}; "
            f"it was written by seesay {manifest.get('seesay', '?')}"
        )
    files = manifest.get("files")
    listed = set(files) if isinstance(files, dict) else set()
    if not (set(FILES) <= listed <= {*FILES, *OPTIONAL} and all(isinstance(e, dict) for e in files.values())):
        raise BundleError(f"bundle {folder}: {MANIFEST} does not list the files of the format, and no others")
    return manifest


def _verify(path: Path, entry: Mapping[str, Any]) -> None:
    if not path.is_file():
        raise BundleError(f"bundle {path.parent}: {path.name} is missing")
    size = path.stat().st_size
    if size != entry.get("bytes"):
        raise BundleError(f"bundle {path.parent}: {path.name} has {size} bytes, expected {entry.get('bytes')}")
    if _sha256(path) != entry.get("sha256"):
        raise BundleError(f"bundle {path.parent}: {path.name} was changed: its SHA-256 is not the manifest's")


@contextmanager
def bundle_being_written(folder: Path) -> Iterator[Path]:
    """A scratch folder beside `folder` that takes its place when the block ends well.

    Whoever looks at `folder` sees the old bundle, or the new one; at worst, in the instant of the exchange, none.
    """
    folder = folder.resolve()  # "." and links have a name of their own
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


def write_manifest(folder: Path, grid: tuple[int, int]) -> None:
    """Seal a folder that holds all of `FILES`, and of `OPTIONAL` what there is."""
    names = (*FILES, *(name for name in OPTIONAL if (folder / name).is_file()))
    files = {name: {"bytes": (folder / name).stat().st_size, "sha256": _sha256(folder / name)} for name in names}
    manifest = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "seesay": seesay.__version__,
        "grid": list(grid),
        "files": files,
    }
    write_json(folder / MANIFEST, manifest)


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
