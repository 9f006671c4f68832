"""`seesay caption`: prints captions and passes them to the writers, photo by photo."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seesay.caption import Failure
from seesay.cli.load_model import load_model
from seesay.cli.writable import STANDARD_OUTPUT, refuse_unwritable
from seesay.errors import printable
from seesay.outputs import WRITERS, Job, LeftOutError, OpenedOnce, Result, Writer

if TYPE_CHECKING:
    from seesay.cli.pipes import Pipe
    from seesay.runtime import CaptionModel
    from seesay.runtime.device import Wanted
    from seesay.runtime.sessions import Precision
    from seesay.search import SampleOptions


@dataclass(frozen=True, kw_only=True)
class CaptionOptions:
    """The options of `seesay caption`.

    Attributes:
        model: bundle folder, packaged name, or None for the packaged default.
        precision, threads, device: as for `seesay.load`.
        beam: None: the model's own.
        alternatives: number of captions per photo; None: one.
        sample: how to sample captions; None: beam search.
        prefix, max_words, forbid: as for `CaptionModel.caption`.
        outputs: {name of a writer: its file}; with "-", standard output has that writer's output only.
        attention: whether to put each word's map into the JSON.
        needed: show on the page what each word needed.
        resume: whether to skip photos that the JSON file has already.
        pipes: photos from pipes, by name.
    """

    model: str | None = None
    precision: Precision = "auto"
    threads: int | None = None
    device: Wanted = "cpu"
    beam: int | None = None
    alternatives: int | None = None
    sample: SampleOptions | None = None
    prefix: str | None = None
    max_words: int | None = None
    forbid: Sequence[str] = ()
    outputs: Mapping[str, Path] = field(default_factory=dict)
    attention: bool = False
    needed: bool = False
    resume: bool = False
    pipes: Mapping[str, Pipe] = field(default_factory=dict)

    @property
    def rules(self) -> dict[str, Any]:
        """The given rules for captions, as arguments of `CaptionModel.caption`."""
        rules = {"prefix": self.prefix, "max_words": self.max_words, "forbid": list(self.forbid)}
        return {name: value for name, value in rules.items() if value not in (None, [])}


def caption_photos(photos: Sequence[Path | str], options: CaptionOptions) -> int:
    """Caption photos and write the outputs; returns the number of photos that failed.

    Args:
        photos: files, and names of `options.pipes`.
        options: model, search and outputs.

    Raises:
        BusyError: another process writes to the JSON file.
        SeesayError: an output cannot be written, or the JSON file cannot be continued.
    """
    names = [str(photo) for photo in photos]
    job = Job(names, "samples" if options.sample else "alternatives", options.attention, options.resume)
    files = [file for name, path in options.outputs.items() for file in WRITERS[name].files(path, job)]
    refuse_unwritable(*files, inputs=map(Path, photos))

    @cache
    def captioner() -> CaptionModel:
        return load_model(options.model, options.threads, options.precision, options.device)

    needed = (lambda photo, caption: captioner().occlusion(photo, caption)) if options.needed else None
    job = replace(job, made_by=lambda: made_by(captioner(), options), needed=needed)
    with ExitStack() as stack:
        writers = [stack.enter_context(writer) for writer in _open_writers(options, job, captioner)]
        return _write_all(names, options, captioner(), writers)


def _open_writers(options: CaptionOptions, job: Job, load: Callable[[], object]) -> Iterator[Writer]:
    """Open the requested writers.

    Those that resume come first, so that a file in use by another process is reported at once. The others are opened
    after the model has loaded, so that an error in the model leaves existing files alone.
    """
    outputs = sorted(options.outputs.items(), key=lambda output: WRITERS[output[0]].resumes, reverse=True)
    for name, path in outputs:
        if not WRITERS[name].resumes:
            load()
        yield WRITERS[name](path, job)


def made_by(captioner: CaptionModel, options: CaptionOptions) -> dict[str, Any]:
    """Everything but the photo that a caption depends on; it is in each line of the JSON, for --resume."""
    encoder, decoder = captioner.encoder_precision, captioner.precision
    settings: dict[str, Any] = {"model": captioner.bundle.name, "digest": captioner.bundle.digest}
    if options.sample:
        how = (option for option in fields(options.sample) if not option.kw_only)  # not the rules
        settings["sample"] = [getattr(options.sample, option.name) for option in how]
    else:
        settings["beam"] = options.beam or captioner.bundle.search.beam
    if options.alternatives:
        settings["alternatives"] = options.alternatives
    settings["precision"] = decoder if encoder == decoder else f"{encoder}, {decoder}"
    return settings | options.rules


def _write_all(
    names: Sequence[str], options: CaptionOptions, captioner: CaptionModel, writers: Sequence[Writer]
) -> int:
    done = {name for writer in writers for name in getattr(writer, "done", ())}
    todo = [name for name in names if name not in done]
    writers = sorted(writers, key=lambda writer: writer.resumes)  # --resume relies on its file, so it is written last
    sources = [options.pipes.get(name, name) for name in todo]
    results = _results(captioner, sources, options)
    failed = 0
    print_captions = STANDARD_OUTPUT not in options.outputs.values()
    for source, result in zip(sources, _counted(results, len(names), len(names) - len(todo)), strict=True):
        failed += not _print_result(result, print_captions)
        photo = OpenedOnce(source)
        for writer in writers:
            try:
                writer.write(photo, result)
            except LeftOutError as error:
                failed += 1
                _warn(str(error))
    return failed


def _results(captioner: CaptionModel, sources: Iterable[Any], options: CaptionOptions) -> Iterator[Result]:
    if options.sample:
        return captioner.caption_many(sources, sample=options.sample, **options.rules)
    if options.alternatives:
        return captioner.caption_many(sources, beam=options.beam, alternatives=options.alternatives, **options.rules)
    return captioner.caption_many(sources, beam=options.beam, **options.rules)


def _counted(results: Iterator[Result], total: int, done: int) -> Iterator[Result]:
    if total < 2 or sys.stdout.isatty():  # on a terminal captions scroll by; a bar is for redirected output
        yield from results
        return
    from rich.console import Console  # slow to import, so not for a single photo

    from seesay.progress import progress

    with progress("captioning", total, Console(stderr=True), done) as advance:
        for result in results:
            advance()
            yield result


def _print_result(result: Result, captions: bool) -> bool:
    """Print a photo's captions or its error; returns False for an error."""
    if isinstance(result, Failure):
        _warn(result.error)
        return False
    several = result if isinstance(result, list) else [result]
    if several[0].warning:
        _warn(f"{printable(several[0].image)}: {several[0].warning}")
    if captions:
        for caption in several:
            print(f"{printable(caption.image)}: {printable(caption.text)}", flush=True)
    return True


def _warn(text: str) -> None:
    print(f"seesay: {printable(text)}", file=sys.stderr)
