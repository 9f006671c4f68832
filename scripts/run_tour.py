"""Run docs/tour.ipynb and keep its outputs, as after a change of the packaged model.

    python scripts/run_tour.py

Needs nbclient, nbformat and ipykernel.
"""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbclient import NotebookClient

TOUR = Path(__file__).resolve().parents[1] / "docs" / "tour.ipynb"


def main() -> None:
    """Run all cells in a fresh kernel."""
    notebook = nbformat.read(TOUR, 4)
    NotebookClient(notebook, timeout=300, kernel_name="python3", record_timing=False, coalesce_streams=True).execute()
    nbformat.write(notebook, TOUR)
    print(f"{TOUR}: {TOUR.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
