"""`seesay score`: rank photos by how likely a sentence is for each."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from seesay.caption import Caption, Failure
from seesay.cli.load_model import load_model
from seesay.errors import printable

if TYPE_CHECKING:
    from seesay.data.sources import Sources
    from seesay.runtime.device import Wanted
    from seesay.runtime.sessions import Precision


def score_photos(
    sources: Sources,
    text: str,
    *,
    model: str | None = None,
    attention: bool = False,
    precision: Precision = "auto",
    threads: int | None = None,
    device: Wanted = "cpu",
) -> tuple[int, int]:
    """Print a JSON line for each photo, the likeliest first, failures last; returns (failures, photos).

    Args:
        sources: the photos.
        text: the sentence.
        model: bundle folder, packaged name, or None for the packaged default.
        attention: whether to print each word's map too.
        precision, threads, device: as for `seesay.load`.

    Raises:
        TextError: the sentence has words that the model does not know, or none.
    """
    photos = list(sources)
    captioner = load_model(model, threads, precision, device)
    results = list(captioner.score_many([photo.source for photo in photos], text))
    scored = sorted((result for result in results if isinstance(result, Caption)), key=lambda caption: -caption.score)
    failures = [result for result in results if isinstance(result, Failure)]
    for result in scored:
        print(json.dumps(result.to_dict(attention)))
    for failure in failures:
        print(json.dumps(failure.to_dict()))
        print(f"seesay: {printable(failure.error)}", file=sys.stderr)
    return len(failures), len(photos)
