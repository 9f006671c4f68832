"""The options of requests, in JSON or as fields of a form."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from seesay.runtime import SampleOptions
from seesay.serve.batcher import Ask
from seesay.serve.limits import RefusedError

Model = TypeVar("Model", bound=BaseModel)


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Text = Annotated[str, Field(max_length=1000)]
Base64 = Annotated[
    str,
    Field(
        min_length=1,
        description="base64, plain or as a data URL",
        json_schema_extra={"format": "byte"},
    ),
]


class PhotoJson(BaseModel):
    """A photo in JSON."""

    model_config = ConfigDict(extra="forbid")
    data: Base64
    name: Text | None = Field(None, description="what the answer calls it")


class Options(BaseModel):
    """Options of all requests with photos."""

    model_config = ConfigDict(extra="forbid")
    attention: bool = Field(False, description="include each word's rows x cols weights")


class TrustOptions(BaseModel):
    """Options for calibrated models."""

    model_config = ConfigDict(extra="forbid")
    min_confidence: float | None = Field(None, ge=0, le=1, description="withhold captions below this confidence")
    cautious: bool = Field(False, description="prefer plainer words where the model is not sure of a thing")


class CaptionOptions(TrustOptions, Options):
    """Options of captions, as on the command line."""

    beam: int | None = Field(None, ge=1, le=20, description="beam width; 1 is greedy search, null the model's own")
    alternatives: int | None = Field(None, ge=1, le=20, description="list the n best captions of each photo")
    likeliest: bool = Field(False, description="the likeliest sentence found, not the most trusted one")
    sample: int | None = Field(None, ge=1, le=50, description="draw n captions at random instead")
    temperature: float | None = Field(
        None, ge=0.01, le=10, description="of `sample`: below 1, likely words become likelier"
    )
    top_p: float | None = Field(
        None,
        ge=0.01,
        le=1,
        description="of `sample`: draw from the likeliest words of this total probability",
    )
    seed: int | None = Field(None, ge=0, lt=2**32, description="of `sample`")
    prefix: Text | None = Field(None, description="each caption begins with this text")
    max_words: int | None = Field(None, ge=1, le=100, description="the most words")
    forbid: Annotated[list[Text], BeforeValidator(_listed), Field(max_length=100)] = Field(
        default=[], description="words that captions must not contain"
    )

    def ask(self) -> Ask:
        """What to ask the model.

        Raises:
            RefusedError: options exclude each other.
        """
        drawn = {"temperature": self.temperature, "top_p": self.top_p, "seed": self.seed}
        given = {name: value for name, value in drawn.items() if value is not None}
        if self.sample is None and given:
            raise invalid(f"{', '.join(given)}: only of use with sample")
        if self.sample is not None and self.alternatives is not None:
            raise invalid("alternatives and sample: give one of the two")
        if self.cautious and (self.sample is not None or self.alternatives is not None):
            raise invalid("cautious: gives one caption, expected neither alternatives nor sample")
        if self.likeliest and (self.cautious or self.sample is not None):
            raise invalid("likeliest: expected neither cautious nor sample")
        return Ask(
            beam=self.beam,
            alternatives=self.alternatives,
            likeliest=self.likeliest,
            sample=None if self.sample is None else SampleOptions(self.sample, **given),
            prefix=self.prefix,
            max_words=self.max_words,
            forbid=tuple(self.forbid),
            min_confidence=self.min_confidence,
            cautious=self.cautious,
        )


class ScoreOptions(Options):
    """Options of scores."""

    text: Annotated[str, Field(min_length=1, max_length=1000)] = Field(
        description="the sentence to score; capitals and punctuation do not matter"
    )

    def ask(self) -> Ask:
        """What to ask the model."""
        return Ask(text=self.text)


class DrawOptions(CaptionOptions):
    """Options of figures, pages and alt text."""

    text: Text | None = Field(None, description="this sentence instead of a caption")

    def ask(self) -> Ask:
        """What to ask the model."""
        return Ask(text=self.text) if self.text else super().ask()


class Photos(BaseModel):
    """The photos of a request in JSON."""

    photos: Annotated[list[Base64 | PhotoJson], Field(min_length=1, description="base64 or data URLs")]


class CaptionRequest(CaptionOptions, Photos):
    """`POST /v1/captions` in JSON."""


class ScoreRequest(ScoreOptions, Photos):
    """`POST /v1/scores` in JSON."""


class DrawRequest(DrawOptions, Photos):
    """`POST /v1/figures`, `/v1/pages` and `/v1/alt-text` in JSON."""


def checked(kind: type[Model], values: Any, strict: bool = True) -> Model:
    """Validate a client's values.

    Args:
        kind: the model to build.
        values: from JSON, or the texts of a form.
        strict: whether values must have their types, as in JSON; otherwise numbers are read from text.

    Raises:
        RefusedError: some are invalid. The message names all of them, and repeats field names but no values.
    """
    try:
        return kind.model_validate(values, strict=strict)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        raise invalid("; ".join(map(_problem, problems[:10]))) from None


def _problem(problem: Any) -> str:
    place = ".".join(str(part)[:40] for part in problem["loc"])
    message: str = problem["msg"]
    return f"{place or 'the body'}: {message[:1].lower()}{message[1:]}"


def invalid(message: str) -> RefusedError:
    """The error for invalid options."""
    return RefusedError(422, "invalid", message)
