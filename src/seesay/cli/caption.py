"""`seesay caption`: photos in, lines, JSON, figures and a page out, as each photo is done."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING

from seesay.caption import Caption, Failure
from seesay.cli.outputs import refuse_unwritable
from seesay.errors import SeesayError
from seesay.writing import written_whole

if TYPE_CHECKING:
    from seesay.runtime.engine import Precision

LINE_START = b'{"image": '
FIGURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


def caption_photos(
    photos: Sequence[Path],
    model: str | None = None,
    beam: int | None = None,
    json_out: Path | None = None,
    attention: bool = False,
    figure: Path | None = None,
    page: Path | None = None,
    resume: bool = False,
    precision: Precision = "auto",
    threads: int | None = None,
) -> int:
    """Caption photos and write what is asked for; the number of photos that failed.

    Args:
        photos: files.
        model: bundle folder, packaged name, or None.
        beam: None takes the model's own.
        json_out: one JSON object a line, each written as soon as it is known.
        attention: with each word's map in the JSON.
        figure: a picture file; for several photos its name is followed by each photo's.
        page: one self-contained HTML page.
        resume: leave out photos that `json_out` has a caption of.
        precision: as for `seesay.load`.
        threads: cores to use; None takes every one that the process may run on.
    """
    from seesay.runtime import CaptionModel

    figures = _figure_files(figure, photos) if figure else {}
    refuse_unwritable(json_out, page, *figures.values(), inputs=photos)
    done = _captioned_before(json_out) if resume and json_out else set()
    todo = [photo for photo in photos if str(photo) not in done]
    captioner = CaptionModel.load(model, threads, precision)
    results = _counted(captioner.caption_many(todo, beam=beam), len(photos), len(photos) - len(todo))
    results = _printed(results)
    if figures:
        results = _drawn(results, figures)
    if json_out:  # last, as what stands there is what --resume leaves out
        results = _as_json(results, json_out, attention, append=bool(done))
    failed = 0
    kept: list[Caption | Failure] = []
    for result in results:
        failed += isinstance(result, Failure)
        if page:
            kept.append(result)
    if page:
        _write_page(kept, page)
    return failed


def _counted(results: Iterable[Caption | Failure], total: int, done: int) -> Iterator[Caption | Failure]:
    if total < 2 or sys.stdout.isatty():  # captions scroll by on a terminal; a bar helps where they go elsewhere
        yield from results
        return
    from rich.console import Console  # not for one photo: it is slow to load

    from seesay.progress import progress

    with progress("captioning", total, Console(stderr=True), done) as advance:
        for result in results:
            advance()
            yield result


def _printed(results: Iterable[Caption | Failure]) -> Iterator[Caption | Failure]:
    for result in results:
        if isinstance(result, Failure):
            print(f"seesay: {result.error}", file=sys.stderr)
        else:
            print(f"{result.image}: {result.text}", flush=True)
        yield result


def _as_json(
    results: Iterable[Caption | Failure], path: Path, attention: bool, append: bool
) -> Iterator[Caption | Failure]:
    # a file name that is no text is written as JSON escapes it
    with path.open("a" if append else "w", encoding="utf-8", errors="backslashreplace") as file:
        for result in results:
            entry = result.to_dict() if isinstance(result, Failure) else result.to_dict(attention)
            file.write(json.dumps(entry, ensure_ascii=False) + "\n")
            file.flush()
            yield result


def _captioned_before(path: Path) -> set[str]:
    """Photos that an earlier run captioned; a last line torn by a kill, and failures, are dropped from the file.

    Raises:
        SeesayError: a line is none that `_as_json` writes, so the file is somebody else's.
    """
    if not path.exists():
        return set()
    kept: set[str] = set()
    with written_whole(path) as scratch, path.open("rb") as old, scratch.open("wb") as new:
        for number, line in enumerate(old, 1):  # with attention it may be larger than memory
            if not line.endswith(b"\n") and line.startswith(LINE_START[: len(line)]):
                break
            if not line.strip():
                continue
            image, captioned = _line(line, f"{path}:{number}")
            if captioned and image not in kept:
                kept.add(image)
                new.write(line)
    return kept


def _line(line: bytes, where: str) -> tuple[str, bool]:
    """(the photo of a line of the JSON, whether it was captioned)"""
    try:
        entry = json.loads(line)
        if isinstance(entry["image"], str) and ("caption" in entry or "error" in entry):
            return entry["image"], "caption" in entry
    except (ValueError, KeyError, TypeError):
        pass
    raise SeesayError(f"{where}: no line that `seesay caption --json` wrote; --resume goes on with such a file only")


def _drawn(results: Iterable[Caption | Failure], figures: Mapping[str, Path]) -> Iterator[Caption | Failure]:
    from seesay.data.images import open_photo
    from seesay.explain import draw_figure

    for result in results:
        if isinstance(result, Caption) and result.image is not None:
            with written_whole(figures[result.image]) as scratch:
                draw_figure(open_photo(result.image), result).save(scratch)
        yield result


def _figure_files(path: Path, photos: Sequence[Path]) -> dict[str, Path]:
    """The figure of each photo: out.png for one, else out-NAME.png, numbered where folders hold photos of one name.

    Raises:
        SeesayError: no picture can be written under such a name.
    """
    if path.suffix.lower() not in FIGURE_SUFFIXES:
        raise SeesayError(f"{path}: cannot be written: expected a name that ends in {', '.join(FIGURE_SUFFIXES)}")
    names = list(dict.fromkeys(map(str, photos)))
    if len(names) == 1:
        return {names[0]: path}
    files: dict[str, Path] = {}
    used: set[str] = set()
    for name in names:
        stem = f"{path.stem}-{Path(name).stem}"
        numbered = (f"{stem}-{number}" for number in count(2))
        free = next(stem for stem in chain([stem], numbered) if stem.casefold() not in used)
        used.add(free.casefold())  # some file systems know one case only
        files[name] = path.with_stem(free)
    return files


def _write_page(results: Sequence[Caption | Failure], path: Path) -> None:
    from seesay.data.images import open_photo
    from seesay.explain import write_page

    def items():
        for result in results:
            if isinstance(result, Failure):
                yield None, Caption(result.error, 0.0, (), result.image)
            else:
                yield open_photo(str(result.image)), result

    write_page(path, items())
