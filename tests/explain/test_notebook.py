"""Captions in notebooks, and pages of many photos."""

from __future__ import annotations

import pickle
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import seesay
from seesay.caption import Caption, Failure, Word
from seesay.explain import MANY
from seesay.outputs import WRITERS


def caption(text: str = "a dog", image: str | None = None) -> Caption:
    words = [Word(word, -0.5, np.full((2, 2), 0.25, np.float32)) for word in text.split()]
    return Caption(text, -3.0, tuple(words), image)


def photo_file(path: Path, side: int = 900) -> Path:
    pixels = np.random.default_rng(0).integers(0, 255, (side // 2, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def shown(said: Caption) -> str:
    html = said._repr_html_()  # what Jupyter calls
    assert html.count("<style>") == html.count("<script>") == 1
    return html


def test_a_caption_of_an_encoded_photo_shows_that_photo(tiny_bundle: Path, tmp_path: Path) -> None:
    model, path = seesay.load(tiny_bundle), photo_file(tmp_path / "a.png")
    photo = model.encode(path.read_bytes())
    for said in (model.caption(photo), model.sample(photo, 1)[0], *model.caption_many([photo])):
        assert isinstance(said, Caption) and said.photo is photo
        assert shown(said).count("<img") == 1
    assert shown(pickle.loads(pickle.dumps(model.caption(photo)))).count("<img") == 1


def test_a_caption_of_a_path_opens_it_again(tiny_bundle: Path, tmp_path: Path) -> None:
    path = photo_file(tmp_path / "a.png")
    said = seesay.load(tiny_bundle).caption(path)
    assert said.photo is None
    assert len(shown(said)) > 5 * len(shown(caption()))
    path.unlink()
    html = shown(said)
    assert "<img" not in html and "a.png" in html


def test_without_a_photo_the_words_stand_alone(tiny_bundle: Path, tmp_path: Path) -> None:
    data = photo_file(tmp_path / "a.png").read_bytes()
    html = shown(seesay.load(tiny_bundle).caption(data))
    assert "<img" not in html and "<button" not in html
    assert re.search(r'class="word" style="--p:0\.\d+" title="[<\d]', html.replace("&lt;", "<"))


def test_hostile_words_and_names_stay_text() -> None:
    bad = "<script>alert(1)</script>"
    html = shown(caption(f'{bad} "', image=bad))
    assert bad not in html and html.count("<script>") == 1


def test_the_output_of_a_caption_is_small(tmp_path: Path) -> None:
    said = caption("a dog runs on the grass", str(photo_file(tmp_path / "a.png", 1600)))
    assert len(shown(said)) < 400_000  # of noise, which no photo comes near


def test_a_gallery(tmp_path: Path) -> None:
    path = str(photo_file(tmp_path / "a.png"))
    several = [caption("two dogs", path), caption("three dogs", path)]
    gallery = seesay.show([caption("a dog", path), several, caption("a cat"), Failure("b.png", "it is damaged")])
    html = gallery._repr_html_()
    assert html.count("<img") == 2 and "three dogs" in html and "it is damaged" in html
    assert repr(gallery) == "a dog\ntwo dogs\na cat\nb.png: it is damaged"
    assert seesay.show(caption("a dog", path))._repr_html_().count("<img") == 1


# --- pages of many photos --------------------------------------------------------------------------------------------


def page_of(number: int, tmp_path: Path) -> str:
    photo = Image.open(photo_file(tmp_path / "p.png"))
    names = [f"{n}.png" for n in range(number)]
    with WRITERS["page"](tmp_path / "page.html") as page:
        for name in names:
            page.write(photo, caption("a dog runs", name))
    return (tmp_path / "page.html").read_text("utf-8")


def test_many_photos_are_small_and_can_be_searched(tmp_path: Path) -> None:
    many, few = page_of(MANY, tmp_path), page_of(MANY - 1, tmp_path)
    assert 'type="search"' in many and 'type="search"' not in few
    assert 'width="320"' in many and 'width="640"' in few
    assert many.count("<figure>") == MANY


@pytest.mark.parametrize("number", [MANY - 1, MANY])
def test_a_page_of_any_number_asks_nothing_of_the_network(number: int, tmp_path: Path) -> None:
    assert not re.search(r"https?:|@import|url\(", page_of(number, tmp_path))


CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
SEARCH = """<script>
const field = document.querySelector(".search input");
field.value = "Dog 1";
field.dispatchEvent(new Event("input"));
const seen = [...document.querySelectorAll("figure")].filter((each) => each.offsetParent).length;
document.title = `${seen} seen, ${document.querySelector("[role=status]").textContent}`;
</script></body>"""


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium on the path")
def test_a_browser_shows_what_is_searched_for(tmp_path: Path) -> None:
    assert CHROMIUM
    path = tmp_path / "searched.html"
    path.write_text(page_of(MANY, tmp_path).replace("</body>", SEARCH), "utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    flags += ["--disable-component-update", "--disable-sync", "--dump-dom", f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run([CHROMIUM, *flags, path.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    named = [n for n in range(MANY) if "1" in str(n)]
    assert f"<title>{len(named)} seen, {len(named)} of {MANY}</title>" in done.stdout
