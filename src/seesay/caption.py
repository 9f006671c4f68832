"""Caption: the result for one photo, from which every output (text, JSON, figure, page) is made."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from seesay.errors import PhotoError

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from seesay.data.images import HasPicture, ImageSource


PHOTO = "photo"  # the kind of pictures that captions are made for
BY_CONFIDENCE, BY_LOGPROB = "confidence", "log-probability"  # how a caption is chosen among a search's sentences


@dataclass(frozen=True, eq=False)
class Word:
    """One displayed word with its probability and its attention.

    Attributes:
        text: the word as shown.
        logprob: its natural log-probability given the photo and the words before, <= 0.
        attention: (rows, cols) float32 attention weights over the photo's regions, >= 0, summing to 1.
        chosen: for hard attention, (row, column) of the region that was chosen for each of the word's tokens; empty for
            soft attention.
        confidence: for a word that names a thing, the probability that the thing is there, 0 to 1; None for other
            words, and for models that were not calibrated.
    """

    text: str
    logprob: float
    attention: np.ndarray
    chosen: tuple[tuple[int, int], ...] = ()
    confidence: float | None = None

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.attention.shape))
        return f"Word({self.text!r}, logprob={float(self.logprob):.4g}, attention of {shape})"


@dataclass(frozen=True, eq=False)
class Caption:
    """A caption of one photo.

    Attributes:
        text: the sentence.
        score: its natural log-probability, including the end token, <= 0.
        words: its words in order, each with probability and attention.
        image: the photo's name or path, if it has one.
        warning: a defect of the photo that did not keep it from being read, such as a truncated file.
        photo: the opened photo, if `CaptionModel.encode` opened it; notebooks show it. Others are opened
            again by `image`.
        confidence: the probability that a person would accept the sentence, 0 to 1 (docs/confidence.md). This and the
            next two are None for models that were not calibrated.
        kind: "photo", or what the picture is instead: "text", "screenshot", "chart", "drawing", "blank".
        photo_probability: that the picture is a photo, 0 to 1.
        withheld: whether the sentence should not be passed on: the picture is no photo, or `withhold` asked for more
            confidence. The sentence is kept.
    """

    text: str
    score: float
    words: tuple[Word, ...]
    image: str | None = None
    warning: str | None = None
    photo: HasPicture | None = field(default=None, repr=False)
    confidence: float | None = None
    kind: str | None = None
    photo_probability: float | None = None
    withheld: bool = False

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        parts = [repr(self.text), f"score={float(self.score):.4g}", f"{len(self.words)} words"]
        parts += [] if self.confidence is None else [f"confidence={float(self.confidence):.2g}"]
        parts += [
            f"{name}={value!r}" for name in ("kind", "image", "warning") if (value := getattr(self, name)) is not None
        ]
        return f"Caption({', '.join(parts)})"

    def _repr_html_(self) -> str:
        """What a notebook shows: the photo, and words that light it up; the words alone where there is no photo."""
        from seesay.explain import caption_html  # Pillow loads only where something is drawn

        return caption_html(self)

    @property
    def shown(self) -> str:
        """The sentence, or why it is withheld: "not a photo (text)" or "not sure"."""
        if not self.withheld:
            return self.text
        return "not sure" if self.kind in (None, PHOTO) else f"not a photo ({self.kind})"

    def withhold(self, min_confidence: float) -> Caption:
        """The same caption, withheld if its confidence is below a minimum.

        Raises:
            ValueError: the caption has no confidence.
        """
        if self.confidence is None:
            raise ValueError("the caption has no confidence: calibrate its model with `seesay calibrate`")
        return replace(self, withheld=self.withheld or self.confidence < min_confidence)

    def figure(self, photo: ImageSource | HasPicture, columns: int | None = None) -> Image.Image:
        """A picture with the photo and, for each word, the photo lit by the word's attention.

        Args:
            photo: the captioned photo, as it was given to the model or as `CaptionModel.encode` gives it.
            columns: tiles in a row; None picks 4 to 6.

        Raises:
            PhotoError: the photo cannot be opened.
        """
        from seesay.explain import draw_figure, picture_of  # Pillow loads only where something is drawn

        return draw_figure(picture_of(photo), self, columns)

    def overlay(self, photo: ImageSource | HasPicture, word: Word | str | int) -> Image.Image:
        """The photo, lit by the attention of one word.

        Args:
            photo: as for `figure`.
            word: one of `words`, its place among them (0 is the first), or its text (the first word that reads so).

        Raises:
            PhotoError: the photo cannot be opened.
            ValueError: the caption has no such word.
        """
        from seesay.explain import draw_overlay, picture_of

        shown = self._word(word)
        return draw_overlay(picture_of(photo), shown.attention, chosen=shown.chosen)

    def _word(self, word: Word | str | int) -> Word:
        if isinstance(word, Word):
            return word
        found = [w for i, w in enumerate(self.words) if word in (w.text, i, i - len(self.words))]
        if not found:
            raise ValueError(f"word={word!r}: '{self.text}' has no such word")
        return found[0]

    def to_dict(self, attention: bool = False) -> dict[str, Any]:
        """The JSON form: image, caption, score and words, what is known of their confidence, and the warning if any.

        `attention` adds each word's rows x cols list, and for hard attention the regions that were
        chosen, as [row, column].
        """
        words = []
        for word in self.words:
            entry: dict[str, Any] = {"text": word.text, "logprob": round(float(word.logprob), 5)}
            if word.confidence is not None:
                entry["confidence"] = round(word.confidence, 4)
            if attention:
                entry["attention"] = [[round(float(w), 6) for w in row] for row in word.attention]
                if word.chosen:
                    entry["chosen"] = [list(region) for region in word.chosen]
            words.append(entry)
        entry = {"image": self.image, "caption": self.text, "score": round(float(self.score), 5), **self.trust()}
        entry["words"] = words
        return entry if self.warning is None else {**entry, "warning": self.warning}

    def summary(self) -> dict[str, Any]:
        """The JSON form of one caption among several of a photo: without its words and what is true of the photo."""
        entry: dict[str, Any] = {"caption": self.text, "score": round(float(self.score), 5)}
        trust = self.trust()
        return entry | {name: trust[name] for name in ("confidence", "withheld") if name in trust}

    def trust(self) -> dict[str, Any]:
        """What is known of the caption's confidence, for JSON; empty for models that were not calibrated."""
        if self.confidence is None:
            return {}
        known: dict[str, Any] = {"confidence": round(self.confidence, 4)}
        if self.kind is not None and self.photo_probability is not None:
            known |= {"kind": self.kind, "photo_probability": round(self.photo_probability, 4)}
        return known | {"withheld": self.withheld}


@dataclass(frozen=True)
class Failure:
    """A photo that could not be captioned, in its place among those that could.

    Attributes:
        image: where it came from, when it had a name.
        reason: what is wrong with it, one line.
    """

    image: str | None
    reason: str

    @property
    def error(self) -> str:
        """The reason after the photo's name."""
        return str(PhotoError(self.reason, self.image))

    def to_dict(self) -> dict[str, Any]:
        """The JSON form: image and error."""
        return {"image": self.image, "error": self.error}
