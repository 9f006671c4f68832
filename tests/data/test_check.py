"""`check_dataset` says whether data can be used: counts, one line for each problem, a verdict."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seesay.data.check import check_dataset, refuse_if_too_many_unreadable
from seesay.data.records import Problem
from seesay.errors import DataError

SAMPLE = Path(__file__).resolve().parents[3] / "shared" / "flickr30k_sample"


def folder(root: Path, count: int) -> Path:
    """`count` photos with two captions each; the first two for dev and test, the others for training."""
    root.mkdir(exist_ok=True)
    rows = []
    for i in range(count):
        Image.new("RGB", (8, 8), (i, 0, 0)).save(root / f"p{i}.png")
        rows += [f"p{i}.png,caption {k},{('dev', 'test', 'train')[min(i, 2)]}\n" for k in range(2)]
    (root / "captions.csv").write_text("image,caption,split\n" + "".join(rows))
    return root


def test_sound_data(tmp_path: Path) -> None:
    report = check_dataset(folder(tmp_path, 12))
    assert str(report).splitlines() == [
        "layout: folder",
        "12 images, 24 captions, 0 repaired rows, 0 unreadable images",
        "  train: 10 images, 20 captions",
        "  dev: 1 image, 2 captions",
        "  test: 1 image, 2 captions",
        "captions read from captions.csv",
        "length of training captions: 2.0 words on average, 2 to 2, 99 % have at most 2",
        "vocabulary of training captions: 3 words; 0 are written fewer than 5 times, 0.0% of the text",
        "usable",
    ]
    assert report.ok and report.usable


def test_text_named_jpg_and_half_a_photo_are_one_line_each(tmp_path: Path) -> None:
    folder(tmp_path, 30)
    (tmp_path / "p3.png").write_text("this is text")
    half = (tmp_path / "p4.png").read_bytes()
    (tmp_path / "p4.png").write_bytes(half[: len(half) // 2])
    report = check_dataset(tmp_path)
    bad = [line for line in report.lines() if line.startswith("error")]
    assert len(bad) == 2 and str(tmp_path / "p3.png") in bad[0] and str(tmp_path / "p4.png") in bad[1]
    assert "30 images, 60 captions, 0 repaired rows, 2 unreadable images" in report.lines()
    assert not report.ok and report.usable
    assert report.lines()[-1] == "usable, but what the 2 errors above name is left out"


def test_a_photo_cut_short_is_a_note(tmp_path: Path) -> None:
    folder(tmp_path, 12)
    Image.linear_gradient("L").save(tmp_path / "p3.png", "JPEG")
    (tmp_path / "p3.png").write_bytes((tmp_path / "p3.png").read_bytes()[:-2])
    report = check_dataset(tmp_path)
    assert report.ok and report.unreadable == 0
    said = f"note: {tmp_path / 'p3.png'}: cut short: the end of the file is missing, but nothing of the picture"
    assert said in report.lines()


def test_names_are_escaped(tmp_path: Path) -> None:
    assert str(Problem("error", "a\n\x1b[2J.jpg", "x\ry")) == r"error: a\n\x1b[2J.jpg: x\ry"


def test_too_many_unreadable_photos_are_not_usable(tmp_path: Path) -> None:
    folder(tmp_path, 10)
    for name in ("p3.png", "p4.png"):
        (tmp_path / name).write_bytes(b"")
    report = check_dataset(tmp_path)
    assert not report.usable and report.lines()[-1].startswith("not usable: 2 of 10 images cannot be read")
    assert check_dataset(tmp_path, open_photos=False).unreadable is None


def test_data_without_dev_is_not_usable_for_training(tmp_path: Path) -> None:
    (folder(tmp_path, 12) / "train.txt").write_text("".join(f"p{i}\n" for i in range(12)))
    for splits, lacking in ((tmp_path, "dev"), ("0/0/1", "train or dev")):
        report = check_dataset(tmp_path, splits=splits)
        assert report.ok and not report.usable
        assert report.lines()[-1].startswith(f"not usable for training: no photo in {lacking}; give data.splits=0.8")
    assert check_dataset(tmp_path, splits="0.8/0.1/0.1").usable


def test_rows_are_reported_with_file_and_row_errors_first(tmp_path: Path) -> None:
    folder(tmp_path, 3)
    Image.new("RGB", (8, 8)).save(tmp_path / "lonely.png")
    with (tmp_path / "captions.csv").open("a") as file:
        file.write("p1.png,  ,test\ngone.png,A dog,train\n")
    (tmp_path / "p2.png").write_bytes(b"")
    lines = check_dataset(tmp_path).lines()
    assert lines[5].startswith("error: captions.csv:8: empty caption")
    assert lines[6].startswith("error: captions.csv:9: photo 'gone.png'")
    assert lines[7].startswith("error") and "p2.png" in lines[7]
    assert lines[8].startswith("note: photos: 1 photo without captions")
    assert check_dataset(tmp_path).lines(most=1)[6] == "... and 3 more"


def test_copies_of_test_photos_in_train_are_noted(tmp_path: Path) -> None:
    folder(tmp_path, 5)
    (tmp_path / "p3.png").write_bytes((tmp_path / "p1.png").read_bytes())  # p1 is in test
    (tmp_path / "p4.png").write_bytes((tmp_path / "p2.png").read_bytes())  # both in train: no harm
    (note,) = [line for line in check_dataset(tmp_path).lines() if line.startswith("note")]
    assert "1 photo of train also in dev or test" in note and "(p3)" in note


def scene(path: Path, seed: int, size: tuple[int, int] = (300, 200), quality: int = 90) -> None:
    """A picture of a random landscape, the same one for a seed at any size."""
    small = np.random.default_rng(seed).integers(0, 255, (7, 9, 3), dtype=np.uint8)
    whole = Image.fromarray(small).resize((300, 200), Image.Resampling.BICUBIC)
    whole.resize(size, Image.Resampling.BICUBIC).save(path, quality=quality)


def test_photos_that_nearly_equal_those_of_another_split_are_counted(tmp_path: Path) -> None:
    splits = ["train"] * 6 + ["dev", "test", "test"]
    rows = [f"p{i}.jpg,a dog,{split}\n" for i, split in enumerate(splits)]
    (tmp_path / "captions.csv").write_text("image,caption,split\n" + "".join(rows))
    for i in range(6):
        scene(tmp_path / f"p{i}.jpg", i)
    scene(tmp_path / "p6.jpg", 1, (224, 224))  # squashed
    scene(tmp_path / "p7.jpg", 2, (150, 100), quality=40)
    scene(tmp_path / "p8.jpg", 1, (90, 60))
    notes = [line for line in check_dataset(tmp_path).lines() if line.startswith("note: splits")]
    assert notes == [
        "note: splits: 2 photos of train nearly equal to one in dev or test (p1 and p6, p2 and p7)",
        "note: splits: 1 photo of dev nearly equal to one in test (p6 and p8)",
    ]


def test_drawings_on_plain_grounds_are_no_copies_of_each_other(tmp_path: Path) -> None:
    folder(tmp_path, 12)
    for i in range(12):
        image = Image.new("RGB", (64, 64), "white")
        image.paste((200, 0, 0), (3 * i, 10, 3 * i + 20, 30))
        image.save(tmp_path / f"p{i}.png")
    assert not [line for line in check_dataset(tmp_path).lines() if line.startswith("note")]


def test_fifty_alike_errors_are_one_line_with_a_count(tmp_path: Path) -> None:
    folder(tmp_path, 12)
    with (tmp_path / "captions.csv").open("a") as file:
        file.write("".join(f"gone{i}.png,A dog,train\n" for i in range(50)) + "p1.png,A dog,tset\n")
    report = check_dataset(tmp_path)
    split, gone = [line for line in report.lines() if line.startswith("error")]
    assert gone.startswith("error: captions.csv:26: photo 'gone0.png' is not in")
    assert gone.endswith("left out with 1 caption (50 alike: 26, 27, 28, ...)")
    assert "split 'tset'" in split and report.errors == 51
    assert sum(line.startswith("error") for line in report.lines(None)) == 51


def test_figures_of_the_training_captions(tmp_path: Path) -> None:
    (tmp_path / "captions.csv").write_text(
        "image,caption,split\n"
        + "p0.png,A dog runs.,train\n" * 5
        + "p0.png,A zebra!,train\np1.png,One two three four,dev\n"
    )
    for i in range(2):
        Image.new("RGB", (8, 8), (i, 0, 0)).save(tmp_path / f"p{i}.png")
    report = check_dataset(tmp_path)
    assert report.figures is not None
    assert (report.figures.mean, report.figures.shortest, report.figures.longest, report.figures.most) == (
        17 / 6,
        2,
        3,
        3,
    )
    assert (report.figures.words, report.figures.rare, report.figures.rare_share) == (4, 1, 1 / 17)
    assert report.lines()[-3:-1] == [
        "length of training captions: 2.8 words on average, 2 to 3, 99 % have at most 3",
        "vocabulary of training captions: 4 words; 1 are written fewer than 5 times, 5.9% of the text",
    ]


def test_progress_counts_every_photo(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    check_dataset(folder(tmp_path, 4), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_tenth_of_the_photos_may_be_unreadable() -> None:
    broken = [Problem("error", f"photo{i}.jpg", "damaged") for i in range(3)]
    refuse_if_too_many_unreadable([], 0)
    refuse_if_too_many_unreadable(broken, 30)
    with pytest.raises(DataError, match=r"3 of 29 photos(.|\n)*photo0\.jpg: damaged"):
        refuse_if_too_many_unreadable(broken, 29)


@pytest.mark.skipif(not SAMPLE.is_dir(), reason="the real photos are not here")
def test_real_flickr30k() -> None:
    report = check_dataset(SAMPLE)
    assert "281 images, 1,405 captions, 1 repaired row" in str(report)
    assert "  train: 201 images, 1,005 captions" in report.lines()
    assert report.ok and report.lines()[-1] == "usable"
    (row,) = [line for line in report.lines() if line.startswith("repaired")]
    assert "results.csv:441" in row
