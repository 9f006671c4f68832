"""Caption: the result for one photo, from which every output (text, JSON, figure, page) is made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from seesay.errors import PhotoError

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from seesay.data.images import HasPicture, ImageSource


@dataclass(frozen=True, eq=False)
class Word:
    """One displayed word with its probability and its attention.

    Attributes:
        text: the word as shown.
        logprob: its natural log-probability given the photo and the words before, <= 0.
        attention: (rows, cols) float32 attention weights over the photo's regions, >= 0, summing to 1.
        chosen: for hard attention, (row, column) of the region that was chosen for each of the word's tokens; empty for
            soft attention.
    """

    text: str
    logprob: float
    attention: np.ndarray
    chosen: tuple[tuple[int, int], ...] = ()

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
    """

    text: str
    score: float
    words: tuple[Word, ...]
    image: str | None = None
    warning: str | None = None
    photo: HasPicture | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        parts = [repr(self.text), f"score={float(self.score):.4g}", f"{len(self.words)} words"]
        parts += [f"{name}={value!r}" for name in ("image", "warning") if (value := getattr(self, name)) is not None]
        return f"Caption({', '.join(parts)})"

    def _repr_html_(self) -> str:
        """What a notebook shows: the photo, and words that light it up; the words alone where there is no photo."""
        from seesay.explain import caption_html  # Pillow loads only where something is drawn

        return caption_html(self)

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
        """The JSON form: image, caption, score and words, and the warning if there is one.

        `attention` adds each word's rows x cols list, and for hard attention the regions that were
        chosen, as [row, column].
        """
        words = []
        for word in self.words:
            entry: dict[str, Any] = {"text": word.text, "logprob": round(float(word.logprob), 5)}
            if attention:
                entry["attention"] = [[round(float(w), 6) for w in row] for row in word.attention]
                if word.chosen:
                    entry["chosen"] = [list(region) for region in word.chosen]
            words.append(entry)
        entry = {"image": self.image, "caption": self.text, "score": round(float(self.score), 5), "words": words}
        return entry if self.warning is None else {**entry, "warning": self.warning}


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
