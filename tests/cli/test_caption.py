"""`seesay caption` with several captions, rules and tables, and `seesay score`, as their users meet them."""

from __future__ import annotations

import csv
import html
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SENTENCES, Cli, lines_of, write_photo

import seesay
from seesay.search import SampleOptions


def test_alternatives(cli: Cli, tiny_bundle: Path, tiny_photos: list[Path], tmp_path: Path) -> None:
    files = ["--json", "o.jsonl", "--csv", "o.csv", "--page", "o.html"]
    done = cli("caption", *tiny_photos, "--model", tiny_bundle, "--alternatives", "3", "--beam", "2", *files)
    assert done.code == 0, done.err
    model = seesay.load(tiny_bundle)
    entries = lines_of(tmp_path / "o.jsonl")
    for photo, entry in zip(tiny_photos, entries, strict=True):
        found = model.alternatives(photo, 3, beam=2)
        assert entry["caption"] == found[0].text
        assert [each["caption"] for each in entry["alternatives"]] == [caption.text for caption in found]
        assert [each["score"] for each in entry["alternatives"]] == [
            pytest.approx(caption.score, abs=1e-4) for caption in found
        ]
        assert entry["made_by"]["alternatives"] == 3
    with (tmp_path / "o.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    every = [(entry["image"], each["caption"]) for entry in entries for each in entry["alternatives"]]
    assert [(row["image"], row["caption"]) for row in rows] == every
    assert done.out.splitlines() == [f"{image}: {text}" for image, text in every]
    page = html.unescape((tmp_path / "o.html").read_text("utf-8"))
    assert page.count("<figure>") == len(tiny_photos)
    assert all(f"<li>{each['caption']} <span>" in page for entry in entries for each in entry["alternatives"][1:])


def test_the_likeliest_sentences(cli: Cli, calibrated_bundle: Path, tiny_bundle: Path, tiny_photos: list[Path]) -> None:
    """Of a calibrated model they are the captions that it had before it was calibrated."""
    done = cli("caption", *tiny_photos, "--model", calibrated_bundle, "--likeliest", "--json", "o.jsonl")
    assert done.code == 0, done.err
    assert done.out == cli("caption", *tiny_photos, "--model", tiny_bundle).out
    entries = lines_of(Path("o.jsonl"))
    assert all(entry["made_by"]["likeliest"] and 0 <= entry["confidence"] <= 1 for entry in entries)
    resumed = cli("caption", *tiny_photos, "--model", calibrated_bundle, "--json", "o.jsonl", "--resume")
    assert resumed.code == 1 and "likeliest" in resumed.err
    for other in (["--cautious"], ["--sample", "2"]):
        refused = cli("caption", "a.jpg", "--model", "never opened", "--likeliest", *other)
        assert refused.code == 2 and "--likeliest: expected neither --cautious nor --sample" in refused.err


def test_the_page_shows_what_each_word_needed(
    cli: Cli, tiny_bundle: Path, tiny_photos: list[Path], tmp_path: Path
) -> None:
    page = tmp_path / "o.html"
    done = cli("caption", tiny_photos[0], "--model", tiny_bundle, "--page", page, "--needed")
    assert (done.code, done.err) == (0, "")
    (maps,) = re.findall(r'<script type="application/json">(\{.*?\})</script>', page.read_text("utf-8"))
    maps = json.loads(maps)
    assert np.array(maps["needed"]).shape == np.array(maps["looked"]).shape == (len(maps["looked"]), 3, 3)
    done = cli("caption", tiny_photos[0], "--model", tiny_bundle, "--needed")
    assert done.err.startswith("seesay: --needed puts maps onto the page; without --page it does nothing")


def test_samples(cli: Cli, tiny_bundle: Path, tiny_photos: list[Path], tmp_path: Path) -> None:
    how = ["--sample", "4", "--temperature", "1.5", "--top-p", "0.95", "--seed", "7", "--json", "o.jsonl"]
    assert cli("caption", *tiny_photos, "--model", tiny_bundle, *how).code == 0
    whole = (tmp_path / "o.jsonl").read_bytes()
    expected = seesay.load(tiny_bundle).caption_many(tiny_photos, 2, sample=SampleOptions(4, 1.5, 0.95, 7))
    for entry, captions in zip(lines_of(tmp_path / "o.jsonl"), expected, strict=True):
        assert isinstance(captions, list)
        assert [each["caption"] for each in entry["samples"]] == [caption.text for caption in captions]
        assert (entry["caption"], "alternatives" in entry) == (captions[0].text, False)
        assert entry["made_by"]["sample"] == [4, 1.5, 0.95, 7] and "beam" not in entry["made_by"]
    (tmp_path / "o.jsonl").write_bytes(b"".join(whole.splitlines(keepends=True)[:3]))
    assert cli("caption", *tiny_photos, "--model", tiny_bundle, *how, "--resume").code == 0
    assert (tmp_path / "o.jsonl").read_bytes() == whole, "the same samples, whatever the batches"
    how[7] = "8"
    done = cli("caption", *tiny_photos, "--model", tiny_bundle, *how, "--resume")
    assert (done.code, "was made with sample" in done.err) == (1, True)


def test_rules(cli: Cli, tiny_bundle: Path, tiny_photos: list[Path]) -> None:
    asked = ["caption", *tiny_photos[:3], "--model", tiny_bundle]
    done = cli(*asked, "--prefix", "Two dogs", "--max-words", "5", "--forbid", "red ball", "--forbid", "grass")
    assert done.code == 0, done.err
    for line in done.out.splitlines():
        words = line.split(": ")[1].split()
        assert words[:2] == ["two", "dogs"] and len(words) <= 5 and not {"red", "ball", "grass"} & {*words}
    for wrong, said in (
        (["--prefix", "a zorblax"], "seesay: prefix: the model does not know 'zorblax'."),
        (["--prefix", "two dogs", "--forbid", "dogs"], "seesay: prefix: 'dogs' is among the forbidden words"),
        (["--prefix", "two dogs", "--max-words", "1"], "seesay: prefix of 2 words: max_words=1 leaves no room for it"),
        (["--prefix", " "], "seesay: prefix: no words in ' '"),
    ):
        done = cli(*asked, *wrong)
        assert (done.code, done.out) == (1, "")
        assert done.err.splitlines()[-1].startswith(said)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--alternatives", "2", "--sample", "2"], "give one of the two"),
        (["--temperature", "1"], "--temperature: only of use with --sample N"),
        (["--top-p", "0.5", "--seed", "1"], "--top-p, --seed: only of use with --sample N"),
        (["--sample", "2", "--temperature", "0"], "--temperature=0.0: expected more than 0"),
        (["--sample", "2", "--top-p", "1.5"], "--top_p=1.5: expected more than 0 and at most 1"),
        (["--alternatives", "0"], "--alternatives"),
        (["--max-words", "0"], "--max-words"),
        (["--resume", "--json", "a.jsonl", "--csv", "a.csv"], "a --csv would lack them"),
        (["--json", "-", "--csv", "-"], "standard output can have one of them only"),
        (["--page", "-"], "--page -: expected a file"),
    ],
)
def test_what_does_not_go_together(cli: Cli, arguments: list[str], said: str) -> None:
    done = cli("caption", "x.jpg", *arguments)
    assert (done.code, done.out) == (2, "")
    assert said in done.err


def test_csv_of_good_and_broken_photos(cli: Cli, tiny_bundle: Path, tmp_path: Path) -> None:
    write_photo(tmp_path / "a.png", 1)
    (tmp_path / "b.png").write_bytes(b"")
    done = cli("caption", ".", "--model", tiny_bundle, "--csv", "-")
    assert done.code == 1
    heading, first, second = csv.reader(done.out.splitlines())
    assert heading == ["image", "caption", "score"]
    assert first[0] == "a.png" and first[1] and float(first[2]) < 0
    assert second == ["b.png", "", ""]


def test_score_is_a_small_photo_search(
    cli: Cli,
    tiny_bundle: Path,
    tiny_photos: list[Path],
    tmp_path: Path,
) -> None:
    (tmp_path / "broken.png").write_bytes(b"")
    text = SENTENCES[3]
    done = cli("score", tmp_path / "broken.png", *tiny_photos, "--text", text, "--model", tiny_bundle)
    assert done.code == 1
    entries: list[dict[str, Any]] = [json.loads(line) for line in done.out.splitlines()]
    assert entries.pop() == {"image": f"{tmp_path}/broken.png", "error": f"{tmp_path}/broken.png: an empty file"}
    scores = [entry["score"] for entry in entries]
    assert scores == sorted(scores, reverse=True) and scores[0] > scores[-1] + 1
    assert {entry["image"] for entry in entries} == {str(photo) for photo in tiny_photos}
    model = seesay.load(tiny_bundle)
    for entry in entries:
        found = model.score(entry["image"], text)
        assert entry["caption"] == found.text == "two dogs play with a ball"
        assert entry["score"] == pytest.approx(found.score, abs=1e-3)
        assert [word["text"] for word in entry["words"]] == found.text.split()
    [photo, *_] = tiny_photos
    [entry] = map(
        json.loads, cli("score", photo, "--text", text, "--model", tiny_bundle, "--attention").out.splitlines()
    )
    assert len(entry["words"][0]["attention"]) == 3
    done = cli("score", photo, "--text", "two zorblax play", "--model", tiny_bundle)
    assert (done.code, done.out) == (1, "")
    assert done.err == "seesay: text: the model does not know 'zorblax'.\n"
