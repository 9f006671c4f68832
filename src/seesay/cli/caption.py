"""`seesay caption`: photos in; lines on the terminal and whatever the writers write out, as each photo is done."""

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
    """What `seesay caption` was asked for.

    Attributes:
        model: bundle folder, packaged name, or None for the packaged default.
        precision, threads, device: as for `seesay.load`.
        beam: None takes the model's own.
        alternatives: so many captions of each photo instead of one.
        sample: captions drawn like this instead of searched for.
        prefix, max_words, forbid: as for `CaptionModel.caption`.
        outputs: name of a writer -> its file; "-" is standard output, which then has nothing else.
        attention: put each word's map into the JSON.
        needed: show on the page what each word needed.
        resume: leave out photos that the JSON file has a caption of.
        pipes: photos that are no files, by name.
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
        """What is asked of each sentence, where anything is."""
        rules = {"prefix": self.prefix, "max_words": self.max_words, "forbid": list(self.forbid)}
        return {name: value for name, value in rules.items() if value not in (None, [])}


def caption_photos(photos: Sequence[Path | str], options: CaptionOptions) -> int:
    """Caption photos and write what is asked for; the number of photos that failed.

    Args:
        photos: files, and names of `options.pipes`.
        options: everything else.

    Raises:
        BusyError: another process writes to the JSON file.
        SeesayError: an output cannot be written, or the JSON file cannot be gone on with.
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
    """The writers that are asked for. One that another process uses is told of at once, and no file is touched before
    the model is there."""
    outputs = sorted(options.outputs.items(), key=lambda output: WRITERS[output[0]].resumes, reverse=True)
    for name, path in outputs:
        if not WRITERS[name].resumes:
            load()
        yield WRITERS[name](path, job)


def made_by(captioner: CaptionModel, options: CaptionOptions) -> dict[str, Any]:
    """What captions depend on besides the photo; each line of the JSON says it, so that --resume can compare."""
    encoder, decoder = captioner.encoder_precision, captioner.precision
    made: dict[str, Any] = {"model": captioner.bundle.name, "digest": captioner.bundle.digest}
    if options.sample:
        own = (option for option in fields(options.sample) if not option.kw_only)  # not the rules
        made["sample"] = [getattr(options.sample, option.name) for option in own]
    else:
        made["beam"] = options.beam or captioner.bundle.search.beam
    if options.alternatives:
        made["alternatives"] = options.alternatives
    made["precision"] = decoder if encoder == decoder else f"{encoder}, {decoder}"
    return made | options.rules


def _write_all(
    names: Sequence[str], options: CaptionOptions, captioner: CaptionModel, writers: Sequence[Writer]
) -> int:
    done = {name for writer in writers for name in getattr(writer, "done", ())}
    todo = [name for name in names if name not in done]
    writers = sorted(writers, key=lambda writer: writer.resumes)  # last what --resume relies on
    sources = [options.pipes.get(name, name) for name in todo]
    results = _results(captioner, sources, options)
    failed = 0
    shown = STANDARD_OUTPUT not in options.outputs.values()
    for source, result in zip(sources, _counted(results, len(names), len(names) - len(todo)), strict=True):
        failed += not _say(result, shown)
        photo = OpenedOnce(source)
        for writer in writers:
            try:
                writer.write(photo, result)
            except LeftOutError as error:
                failed += 1
                _complain(str(error))
    return failed


def _results(captioner: CaptionModel, sources: Iterable[Any], options: CaptionOptions) -> Iterator[Result]:
    if options.sample:
        return captioner.caption_many(sources, sample=options.sample, **options.rules)
    if options.alternatives:
        return captioner.caption_many(sources, beam=options.beam, alternatives=options.alternatives, **options.rules)
    return captioner.caption_many(sources, beam=options.beam, **options.rules)


def _counted(results: Iterator[Result], total: int, done: int) -> Iterator[Result]:
    if total < 2 or sys.stdout.isatty():  # captions scroll by on a terminal; a bar helps where they go elsewhere
        yield from results
        return
    from rich.console import Console  # not for one photo: it is slow to load

    from seesay.progress import progress

    with progress("captioning", total, Console(stderr=True), done) as advance:
        for result in results:
            advance()
            yield result


def _say(result: Result, captions: bool) -> bool:
    """Print a result's captions, or what is wrong; False: it is a failure."""
    if isinstance(result, Failure):
        _complain(result.error)
        return False
    several = result if isinstance(result, list) else [result]
    if several[0].warning:
        _complain(f"{printable(several[0].image)}: {several[0].warning}")
    if captions:
        for caption in several:
            print(f"{printable(caption.image)}: {printable(caption.text)}", flush=True)
    return True


def _complain(text: str) -> None:
    print(f"seesay: {printable(text)}", file=sys.stderr)
