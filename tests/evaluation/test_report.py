"""Which photos a report shows, and the figures above them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from seesay.data.readers import read_dataset
from seesay.data.records import CaptionRecord, Problem
from seesay.evaluation import Evaluation, evaluate
from seesay.evaluation.report import by_cider, report
from seesay.metrics.pointing import Pointing
from seesay.runtime import CaptionModel


@pytest.fixture(scope="module")
def records(tiny_data: Path) -> list[CaptionRecord]:
    return read_dataset(tiny_data).split("train")


@pytest.fixture(scope="module")
def result(tiny_bundle: Path, records: list[CaptionRecord]) -> Evaluation:
    return evaluate(CaptionModel.load(tiny_bundle), records, official=False)


def test_best_middling_and_worst() -> None:
    cider = dict(zip("abcdefghijk", [3.0, 0.0, 1.0, 9.0, 2.0, 0.0, 4.0, 5.0, 8.0, 7.0, 6.0], strict=True))
    # best to worst: d i j k h g a e c b f; the median is g
    expected = {"The best": ["d", "i", "j"], "The middling": ["h", "g", "a"], "The worst": ["f", "b", "c"]}
    assert by_cider(cider, 3) == by_cider(cider, 99) == expected
    assert by_cider(cider, 1) == {"The best": ["d"], "The middling": ["g"], "The worst": ["f"]}
    assert by_cider({"a": 1.0, "b": 0.0}, 12) == {"The best": [], "The middling": [], "The worst": []}
    for photos in range(3, 9):  # no id twice, however few there are
        shown = [name for ids in by_cider(dict.fromkeys("abcdefgh"[:photos], 0.5), 12).values() for name in ids]
        assert len(shown) == len(set(shown)) == photos // 3 * 3


def sections_of(page: str) -> dict[str, list[str]]:
    """Heading -> names of the photos under it."""
    parts = re.findall(r"<section id=.*?</section>", page, re.DOTALL)
    return {re.findall("<h2>(.*?)</h2>", part)[0]: re.findall(r'class="name">(.*?)<', part) for part in parts}


def test_page(result: Evaluation, records: list[CaptionRecord], tmp_path: Path) -> None:
    path = report(tmp_path / "page.html", result, records, "tiny", photos=2)
    page = path.read_text("utf-8")
    found = sections_of(page)
    assert list(found) == ["The best", "The middling", "The worst", "Unselected"]
    ciders = {record.image.name: result.per_photo[record.id]["cider"] for record in records}
    ordered = sorted(ciders.values())
    assert [ciders[name] for name in found["The best"]] == ordered[:-3:-1]
    assert [ciders[name] for name in found["The worst"]] == ordered[:2]
    names = {record.id: record.image.name for record in records}
    assert found["Unselected"] == [names[example["id"]] for example in result.examples(2)]
    best = next(record for record in records if record.image.name == found["The best"][0])
    shown = page.split("<figure>")[1]
    assert f"CIDEr {100 * result.per_photo[best.id]['cider']:.1f}" in shown
    assert all(text in shown.replace("&#x27;", "'") for text in best.captions)
    assert f"<dd>{100 * result.scores.cider:.1f}</dd>" in page
    assert "CIDEr on 12 images says little" in page and "METEOR</dt>" not in page
    assert "Pointing" not in page and "Left out" not in page


def test_page_says_what_was_left_out_and_where_attention_points(
    result: Evaluation, records: list[CaptionRecord], tmp_path: Path
) -> None:
    failures = [Problem("error", "<odd>.jpg", "damaged")]
    whole = replace(result, failures=failures, pointing=Pointing(0.75, 0.1, 8, 0, 0, 4))
    page = report(tmp_path / "page.html", whole, records, "tiny", photos=1).read_text("utf-8")
    assert "0.750 (chance 0.100)" in page and "error: &lt;odd&gt;.jpg: damaged" in page


def test_two_photos_are_shown_unselected(tiny_bundle: Path, records: list[CaptionRecord], tmp_path: Path) -> None:
    few = evaluate(CaptionModel.load(tiny_bundle), records[:2], official=False)
    page = report(tmp_path / "page.html", few, records, "tiny").read_text("utf-8")
    assert {heading: len(names) for heading, names in sections_of(page).items()} == {"Unselected": 2}
