"""Arguments that have to go together: what does not is refused as a usage error, before any work."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from seesay.outputs import WRITERS
from seesay.writing import STANDARD_OUTPUT

if TYPE_CHECKING:
    from seesay.data.sources import Sources
    from seesay.outputs.alt_text import AltTextOptions
    from seesay.search import SampleOptions


def alt_text_options(
    sidecar: bool, embed: bool, overwrite: Literal["ours", "all"] | None, dry_run: bool = False
) -> AltTextOptions | None:
    """The options for alt text, None without `--sidecar` and `--embed`; refuses those that do not go together."""
    if sidecar and embed:
        raise typer.BadParameter("--sidecar and --embed: give one of the two")
    if not (sidecar or embed):
        if overwrite or dry_run:
            raise typer.BadParameter(f"{'--overwrite' if overwrite else '--dry-run'}: only with --sidecar or --embed")
        return None
    from seesay.outputs.alt_text import AltTextOptions

    return AltTextOptions(embed=embed, overwrite=overwrite or "nothing", dry_run=dry_run)


def check_outputs(outputs: Mapping[str, Path], resume: bool) -> None:
    """Refuse outputs that do not go together, as a usage error."""
    streams = [name for name, path in outputs.items() if path == STANDARD_OUTPUT]
    for name in streams:
        if not WRITERS[name].streams:
            raise typer.BadParameter(f"--{name} -: expected a file, not standard output")
    if len(streams) > 1:
        raise typer.BadParameter(f"--{streams[0]} and --{streams[1]}: standard output can have one of them only")
    if not resume:
        return
    resumable = [name for name in outputs if WRITERS[name].resumes]
    if not resumable:
        raise typer.BadParameter("--resume needs --json OUT.jsonl or --parquet OUT, the output to go on with")
    if len(resumable) > 1:
        raise typer.BadParameter(f"--resume goes on with one output; give {' or '.join(f'--{n}' for n in resumable)}")
    if "json" in streams:
        raise typer.BadParameter("--resume needs a file to go on with, which standard output (--json -) is not")
    for name in outputs:
        if WRITERS[name].whole:
            raise typer.BadParameter(f"--resume leaves photos out, so a --{name} would lack them; give one of the two")


def sample_options(number: int | None, alternatives: int | None, **given: Any) -> SampleOptions | None:
    """The options for sampling, None without `--sample`; refuses options that do not go together."""
    given = {name: value for name, value in given.items() if value is not None}
    if number is None:
        if given:
            options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
            raise typer.BadParameter(f"{options}: only of use with --sample N")
        return None
    if alternatives is not None:
        raise typer.BadParameter("--alternatives and --sample: give one of the two")
    from seesay.search import SampleOptions

    try:
        return SampleOptions(number, **given)
    except ValueError as error:
        raise typer.BadParameter(f"--{error}") from None


def sources_of(paths: list[str], shard: str | None = None, columns: str = "") -> Sources:
    """The sources that a user names; refuses a shard or columns of another form."""
    from seesay.cli.pipes import pipes_among
    from seesay.data.sources import ManifestColumns, Shard, Sources

    try:
        part = Shard.parse(shard) if shard is not None else None
    except ValueError as error:
        raise typer.BadParameter(f"--shard {error}") from None
    try:
        named_columns = ManifestColumns.parse(columns)
    except ValueError as error:
        raise typer.BadParameter(f"--columns {error}") from None
    return Sources(paths, pipes_among(paths), part, named_columns)
