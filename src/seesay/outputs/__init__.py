"""Writers: captions -> files, for the command line and for Python.

>>> from seesay.outputs import WRITERS
>>> with WRITERS["csv"]("captions.csv") as writer:          # doctest: +SKIP
...     for photo, result in zip(photos, model.caption_many(photos)):
...         writer.write(photo, result)

To add one, write a class like those of this folder and add it to WRITERS: `seesay caption` then has an option of that
name, which takes the file to write.
"""

from seesay.outputs.csv_table import CsvTable
from seesay.outputs.figures import Figures
from seesay.outputs.html_page import Page
from seesay.outputs.jsonl import JsonLines
from seesay.outputs.opened_once import OpenedOnce
from seesay.outputs.parquet import ParquetRows
from seesay.outputs.writer import Done, Job, LeftOutError, Result, Writer

WRITERS: dict[str, type[Writer]] = {
    "json": JsonLines,
    "parquet": ParquetRows,
    "csv": CsvTable,
    "figure": Figures,
    "page": Page,
}

__all__ = [
    "WRITERS",
    "CsvTable",
    "Done",
    "Figures",
    "Job",
    "JsonLines",
    "LeftOutError",
    "OpenedOnce",
    "Page",
    "ParquetRows",
    "Result",
    "Writer",
]
