"""Loading the model of a command."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from seesay.errors import printable

if TYPE_CHECKING:
    from seesay.runtime import CaptionModel
    from seesay.runtime.device import Wanted
    from seesay.runtime.sessions import Precision


def load_model(
    name: str | None, threads: int | None = None, precision: Precision = "auto", device: Wanted = "cpu"
) -> CaptionModel:
    """Load a model as `seesay.load` does, and print a note about its device, if any, on standard error."""
    from seesay.runtime import CaptionModel

    model = CaptionModel.load(name, threads, precision, device)
    if model.engine.note:
        print(f"seesay: {printable(model.engine.note)}", file=sys.stderr)
    return model
