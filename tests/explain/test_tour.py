"""The notebook of the documents, run by a real kernel."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

TOUR = Path(__file__).resolve().parents[2] / "docs" / "tour.ipynb"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the kernel's libraries, about its sockets
def test_the_tour_runs_and_shows_what_it_shows() -> None:
    nbclient = pytest.importorskip("nbclient", reason="nbclient and ipykernel run notebooks")
    nbformat = pytest.importorskip("nbformat")
    notebook, before = nbformat.read(TOUR, 4), nbformat.read(TOUR, 4)
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    assert [kinds(cell) for cell in notebook.cells] == [kinds(cell) for cell in before.cells]
    html = [each.data.get("text/html", "") for cell in notebook.cells for each in outputs(cell) if "data" in each]
    assert sum("<img" in each for each in html) == 3


def outputs(cell: Any) -> list[Any]:
    return cell.get("outputs", [])


def kinds(cell: Any) -> list[list[str]]:
    """What each output of a cell is made of: text, HTML, a picture. Printed text may come in several pieces."""
    found = [sorted(each.get("data", ["printed"])) for each in outputs(cell)]
    return [kind for kind, _ in groupby(found)]
