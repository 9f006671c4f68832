"""seesay's own API: what it answers, and how it says no."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from serving import Client, data_url, error_of, in_base64, make_app, picture

import seesay
from seesay.cli.caption import CaptionOptions, caption_photos
from seesay.data.sources import Sources
from seesay.outputs.alt_text.files import packet_of, with_packet
from seesay.outputs.alt_text.packet import ALT_TEXT, DESCRIPTION, Packet
from seesay.serve.limits import MIB, Limits


@pytest.fixture(scope="module")
def client(tiny_bundle: Path) -> Client:
    return Client(make_app(tiny_bundle, limits=Limits(body_bytes=MIB, photos=4)))


def test_the_json_of_a_caption_is_that_of_the_command_line(
    client: Client, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.jpg").write_bytes(picture())
    options = CaptionOptions(model=str(tiny_bundle), alternatives=2, attention=True, outputs={"json": Path("a.jsonl")})
    caption_photos(Sources(["a.jpg"]), options)
    expected = json.loads(Path("a.jsonl").read_text("utf-8"))
    for name in ("made_by", "id"):  # of files on a disk
        expected.pop(name)
    answer = client.post(
        "/v1/captions",
        files={"photos": ("a.jpg", picture())},
        data={"alternatives": "2", "attention": "true"},
    )
    assert answer.status_code == 200
    assert answer.json() == {"model": "tiny", "results": [expected]}


def test_forms_and_json_give_the_same(client: Client) -> None:
    photos = [picture(1), picture(2, "PNG")]
    named = [("photos", (f"{n}.x", photo)) for n, photo in enumerate(photos)]
    form = client.post("/v1/captions", files=named, data={"beam": 2}).json()
    body = {
        "photos": [
            {"data": in_base64(photos[0]), "name": "0.x"},
            {"data": data_url(photos[1], "image/png"), "name": "1.x"},
        ],
        "beam": 2,
    }
    assert client.post("/v1/captions", json=body).json() == form
    assert [result["image"] for result in form["results"]] == ["0.x", "1.x"]
    assert form["results"][0]["caption"] != form["results"][1]["caption"]


def test_base64_as_clients_write_it(client: Client) -> None:
    photo = picture(3)
    plain = in_base64(photo)
    ways = [plain, plain.rstrip("="), plain.replace("+", "-").replace("/", "_")]
    ways.append("\r\n".join(plain[n : n + 76] for n in range(0, len(plain), 76)))
    ways.append(f"DATA:image/jpeg;charset=binary;base64,{plain}")
    answers = client.post("/v1/captions", json={"photos": ways[:4]}).json()["results"]
    answers += client.post("/v1/captions", json={"photos": ways[4:]}).json()["results"]
    assert len({json.dumps(answer) for answer in answers}) == 1


def test_one_bad_photo_is_an_error_among_the_captions(client: Client) -> None:
    files = [("photos", ("good.jpg", picture())), ("photos", ("bad.jpg", b"no photo"))]
    answer = client.post("/v1/captions", files=files)
    good, bad = answer.json()["results"]
    assert answer.status_code == 200
    assert good["caption"] and bad["image"] == "bad.jpg"
    assert bad["error"].startswith("bad.jpg: not a picture of any format known here")


def test_samples_and_rules(client: Client, tiny_bundle: Path) -> None:
    photo = picture(4)
    body = {"photos": [in_base64(photo)], "sample": 3, "seed": 5, "temperature": 2}
    drawn = client.post("/v1/captions", json=body).json()["results"][0]["samples"]
    expected = seesay.load(tiny_bundle).sample(photo, 3, 2, seed=5)
    assert [each["caption"] for each in drawn] == [each.text for each in expected]

    ruled = {"photos": [in_base64(photo)], "prefix": "two dogs", "max_words": 3, "forbid": "play"}
    [result] = client.post("/v1/captions", json=ruled).json()["results"]
    words = result["caption"].split()
    assert words[:2] == ["two", "dogs"] and len(words) <= 3 and "play" not in words


def test_score_of_a_sentence(client: Client, tiny_bundle: Path) -> None:
    photo, text = picture(5), "A dog runs after the ball."
    sent = {"files": {"photos": ("p.jpg", photo)}, "data": {"text": text, "attention": "1"}}
    [result] = client.post("/v1/scores", **sent).json()["results"]
    expected = seesay.load(tiny_bundle).score(photo, text).to_dict(attention=True)
    assert result == {**expected, "image": "p.jpg"}


def test_figure_and_page(client: Client) -> None:
    files = [("photos", ("a.jpg", picture())), ("photos", ("b.jpg", picture(1)))]
    figure = client.post("/v1/figures", files=files[:1], data={"text": "a dog"})
    assert figure.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(figure.content)).width > 300
    page = client.post("/v1/pages", files=files, data={"alternatives": 2})
    assert page.text.count("<figure>") == 2 and "Alternatives" in page.text
    assert page.headers["content-disposition"].startswith("attachment")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_photo_with_its_caption_as_alt_text(client: Client, tiny_bundle: Path, kind: str) -> None:
    photo = picture(5, kind)
    answer = client.post("/v1/alt-text", files={"photos": ("dog.x", photo)})
    assert answer.headers["content-type"] == f"image/{kind.lower()}"
    assert answer.headers["content-disposition"] == "attachment"
    packet = Packet(packet_of(answer.content))
    assert packet.text(ALT_TEXT) == packet.text(DESCRIPTION) == str(seesay.load(tiny_bundle).caption(photo))
    assert with_packet(answer.content, None) == photo, "nothing else has changed"
    own = {"photos": [in_base64(answer.content)], "text": " My dog Rex & his <ball> "}
    packet = Packet(packet_of(client.post("/v1/alt-text", json=own).content))
    assert packet.texts(ALT_TEXT) == ["My dog Rex & his <ball>"]
    assert not packet.may_write(ALT_TEXT, "ours")


def test_alt_text_that_is_not_written(client: Client, calibrated_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusal(client: Client, photo: bytes, **options: Any) -> tuple[int, str, str]:
        return error_of(client.post("/v1/alt-text", files={"photos": ("a.x", photo)}, data=options))

    reason = "a.x: no alt text written: only JPEG, PNG and WebP files can hold it"
    for options in ({}, {"text": "a dog"}):
        assert refusal(client, picture(kind="BMP"), **options) == (422, "no_metadata", reason)
    vast = with_packet(picture(kind="PNG"), b"<a>" + b"<b/>" * 2**14 + b"</a>")
    assert "more than 65,536 bytes of XMP" in refusal(client, vast, text="a dog")[2]
    broken = with_packet(picture(), b"no XML")
    assert "XMP is broken" in refusal(client, broken, text="a dog")[2]
    for options in ({}, {"text": "a dog"}):
        assert refusal(client, b"no photo", **options)[:2] == (415, "no_photo")
        cut = refusal(client, picture(size=(300, 300))[:-900], **options)
        assert cut[:2] == (422, "no_metadata") and "cut short" in cut[2]
    for nothing in ("", "  ", "\0"):
        assert refusal(client, picture(), text=nothing) == (422, "invalid", "alt text: expected words, got none")
    unsure = Client(make_app(calibrated_bundle, min_confidence=1))
    said = "a.x: not sure, so no alt text; send `text` to write your own"
    assert refusal(unsure, picture()) == (422, "withheld", said)
    assert unsure.post("/v1/alt-text", json={"photos": [in_base64(picture())], "text": "a dog"}).status_code == 200


def test_the_model_and_whether_the_server_is_well(client: Client, tiny_bundle: Path) -> None:
    [model] = client.get("/v1/models").json()["data"]
    assert (model["id"], model["digest"]) == ("tiny", seesay.load(tiny_bundle).bundle.digest)
    assert client.get("/v1/models/tiny").json() == model
    assert error_of(client.get("/v1/models/x"))[:2] == (404, "model_not_found")
    assert client.get("/health").json() == {"status": "ok"}
    assert client.get("/ready").json() == {"status": "ready"}


def test_figures_for_prometheus(client: Client) -> None:
    client.post("/v1/captions", json={"photos": [in_base64(picture())]})
    client.get("/a/path/that/is/none")
    text = client.get("/metrics").text
    assert 'seesay_requests_total{path="/v1/captions",status="200"}' in text
    assert 'seesay_requests_total{path="other",status="404"}' in text
    assert 'seesay_photos_total{result="captioned"}' in text
    assert "seesay_batch_photos_bucket" in text and "process_resident_memory_bytes" in text


BAD_OPTIONS = {
    "beam=0": "beam",
    "beam=x": "beam",
    "beem=3": "beem",
    "alternatives=2&sample=2": "give one of the two",
    "seed=1": "only of use with sample",
    "top_p=0&sample=1": "top_p",
    "prefix=xylophone": "does not know 'xylophone'",
    "prefix=": "no words",
    "forbid=dog&prefix=a+dog": "forbidden",
    "attention=perhaps": "attention",
}


@pytest.mark.parametrize("options", BAD_OPTIONS)
def test_options_that_cannot_be_are_named(client: Client, options: str) -> None:
    fields: dict[str, str] = dict(pair.split("=") for pair in options.replace("+", " ").split("&"))
    answer = client.post("/v1/captions", files={"photos": ("a.jpg", picture())}, data=fields)
    status, code, message = error_of(answer)
    assert (status, code) == (422, "invalid")
    assert BAD_OPTIONS[options] in message


@pytest.mark.parametrize("wrong", [{"beam": "2"}, {"attention": 1}, {"temperature": "1", "sample": 1}])
def test_json_has_types(client: Client, wrong: dict[str, object]) -> None:
    answer = client.post("/v1/captions", json={"photos": [in_base64(picture())], **wrong})
    assert error_of(answer)[:2] == (422, "invalid")


def test_bodies_that_cannot_be(client: Client) -> None:
    post = client.post
    empty = post("/v1/captions", files={"x": (None, "1")})
    assert error_of(post("/v1/captions", content=b"{", headers=JSON))[:2] == (400, "bad_json")
    assert error_of(post("/v1/captions", content=b"[" * 10**5, headers=JSON))[1] == "bad_json"
    for constant in (b"NaN", b"Infinity", b"-Infinity"):
        assert error_of(post("/v1/captions", content=b'{"x": %s}' % constant, headers=JSON))[1] == "bad_json"
    for coding in ("utf-16", "utf-32", "utf-8-sig"):
        assert error_of(post("/v1/captions", content="{}".encode(coding), headers=JSON))[1] == "bad_json"
    assert error_of(post("/v1/captions", content=b"[]", headers=JSON))[1] == "invalid"
    assert error_of(post("/v1/captions", json={"photos": []}))[1] == "invalid"
    assert error_of(empty)[1] in ("invalid", "no_photos")
    assert error_of(post("/v1/captions", content=b"x"))[:2] == (415, "unsupported_media_type")
    assert error_of(post("/v1/captions", content=b"x", headers=FORM))[:2] == (400, "bad_form")
    no_boundary = {"content-type": "multipart/form-data"}
    assert error_of(post("/v1/captions", content=b"x", headers=no_boundary))[1] == "bad_form"
    assert error_of(post("/v1/scores", json={"photos": [in_base64(picture())]}))[1] == "invalid"


def test_a_form_that_is_cut_short_is_refused_whole(client: Client) -> None:
    """The parser would leave out the last photo without a word."""
    body = b"".join(
        b'--b\r\nContent-Disposition: form-data; name="photos"; filename="a"\r\n\r\n%s\r\n' % picture(n) for n in (0, 1)
    )
    assert client.post("/v1/captions", content=body + b"--b--\r\n", headers=FORM).status_code == 200
    for short in (body, body[:-10]):
        status, code, message = error_of(client.post("/v1/captions", content=short, headers=FORM))
        assert (status, code) == (400, "bad_form") and "ends before its last boundary" in message


def test_photos_of_a_form_are_files_in_their_field(client: Client) -> None:
    files = [("photos", ("a.jpg", picture())), ("beam", ("b.txt", b"3"))]
    assert error_of(client.post("/v1/captions", files=files))[2].startswith("beam: expected text, got a file")
    bare = client.post("/v1/captions", files={"photos": (None, picture())})
    assert "photos: expected files" in error_of(bare)[2]


JSON = {"content-type": "application/json"}
FORM = {"content-type": "multipart/form-data; boundary=b"}


def test_photos_that_cannot_be(client: Client) -> None:
    def ask(photo: bytes) -> tuple[int, str]:
        answer = client.post("/v1/captions", json={"photos": [in_base64(photo)]})
        return error_of(answer)[:2]

    assert ask(b"GIF, or so it says") == (415, "no_photo")
    assert ask(b"%PDF-1.7") == (415, "no_photo")
    assert ask(picture()[:300]) == (422, "bad_photo")
    bomb = b"P6 100000 100000 255\n" + b"0" * 100
    assert ask(bomb) == (413, "photo_too_large")


def test_a_data_url_that_is_not_base64(client: Client) -> None:
    answer = client.post("/v1/captions", json={"photos": ["data:text/plain,a%20dog"]})
    assert error_of(answer)[:2] == (422, "bad_base64")


@pytest.mark.parametrize("url", ["http://localhost/a.jpg", "file:///etc/passwd", "ftp://a/b.jpg"])
def test_nothing_that_a_client_names_is_opened(client: Client, url: str) -> None:
    status, code, message = error_of(client.post("/v1/captions", json={"photos": [url]}))
    assert (status, code) == (422, "url_refused") and "not fetched" in message
    refused = client.post("/v1/captions", json={"photos": [__file__]})
    assert error_of(refused)[1] == "bad_base64"


def test_too_much_is_refused(client: Client) -> None:
    large = client.post("/v1/captions", files={"photos": ("a.jpg", b"0" * 2 * MIB)})
    assert error_of(large)[:2] == (413, "too_large")
    many = [("photos", ("a.jpg", b"0"))] * 5
    assert error_of(client.post("/v1/captions", files=many))[:2] == (413, "too_many_photos")
    in_json = client.post("/v1/captions", json={"photos": ["AAAA"] * 5})
    assert error_of(in_json)[:2] == (413, "too_many_photos")

    def endless():
        for _ in range(40):
            yield b" " * 2**16

    async def chunks():
        for chunk in endless():
            yield chunk

    chunked = client.post("/v1/captions", content=chunks(), headers=JSON)
    assert error_of(chunked)[:2] == (413, "too_large")


def test_errors_repeat_nothing_that_was_sent(client: Client) -> None:
    secret = "correct horse battery staple"
    for body in ({"photos": [secret], "beam": secret}, {"photos": secret}, {"photos": [[secret]]}):
        answer = client.post("/v1/captions", json=body)
        assert answer.status_code == 422 and secret not in answer.text


def test_unknown_paths_and_methods(client: Client) -> None:
    assert error_of(client.get("/nothing"))[:2] == (404, "not_found")
    assert error_of(client.get("/v1/captions"))[:2] == (405, "method_not_allowed")
