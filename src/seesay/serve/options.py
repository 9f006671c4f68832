"""The options of requests, as JSON and as fields of a form."""

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
    """What every request about photos may have."""

    model_config = ConfigDict(extra="forbid")
    attention: bool = Field(False, description="with each word's rows x cols weights")


class CaptionOptions(Options):
    """How to caption, as on the command line."""

    beam: int | None = Field(None, ge=1, le=20, description="hypotheses kept; 1 is greedy, null the model's own")
    alternatives: int | None = Field(None, ge=1, le=20, description="this many captions of each photo, the best first")
    sample: int | None = Field(None, ge=1, le=50, description="this many captions drawn at random instead")
    temperature: float | None = Field(
        None, ge=0.01, le=10, description="of `sample`: below 1 likely words become likelier"
    )
    top_p: float | None = Field(None, ge=0.01, le=1, description="of `sample`: the likeliest words of this probability")
    seed: int | None = Field(None, ge=0, lt=2**32, description="of `sample`")
    prefix: Text | None = Field(None, description="text that each caption begins with")
    max_words: int | None = Field(None, ge=1, le=100, description="words at most")
    forbid: Annotated[list[Text], BeforeValidator(_listed), Field(max_length=100)] = Field(
        default=[], description="words that are not written"
    )

    def ask(self) -> Ask:
        """The request for the model.

        Raises:
            RefusedError: options that exclude each other.
        """
        drawn = {"temperature": self.temperature, "top_p": self.top_p, "seed": self.seed}
        given = {name: value for name, value in drawn.items() if value is not None}
        if self.sample is None and given:
            raise invalid(f"{', '.join(given)}: only of use with sample")
        if self.sample is not None and self.alternatives is not None:
            raise invalid("alternatives and sample: give one of the two")
        return Ask(
            beam=self.beam,
            alternatives=self.alternatives,
            sample=None if self.sample is None else SampleOptions(self.sample, **given),
            prefix=self.prefix,
            max_words=self.max_words,
            forbid=tuple(self.forbid),
        )


class ScoreOptions(Options):
    """Which sentence to score."""

    text: Annotated[str, Field(min_length=1, max_length=1000)] = Field(
        description="the sentence; capitals and punctuation do not matter"
    )

    def ask(self) -> Ask:
        """The request for the model."""
        return Ask(text=self.text)


class DrawOptions(CaptionOptions):
    """What to draw: the photo's captions, or a given sentence."""

    text: Text | None = Field(None, description="draw this sentence instead of a caption")

    def ask(self) -> Ask:
        """The request for the model."""
        return Ask(text=self.text) if self.text else super().ask()


class Photos(BaseModel):
    """The photos of a request in JSON."""

    photos: Annotated[list[Base64 | PhotoJson], Field(min_length=1, description="base64 or data URLs")]


class CaptionRequest(CaptionOptions, Photos):
    """`POST /v1/captions` in JSON."""


class ScoreRequest(ScoreOptions, Photos):
    """`POST /v1/scores` in JSON."""


class DrawRequest(DrawOptions, Photos):
    """`POST /v1/figures` and `/v1/pages` in JSON."""


def checked(kind: type[Model], values: Any, strict: bool = True) -> Model:
    """Values of a client as a model.

    Args:
        kind: the model.
        values: from JSON, or the texts of a form.
        strict: each value has its type already, as in JSON; if not, texts are read as numbers.

    Raises:
        RefusedError: they are not what is expected; the message names all of them, and repeats
            nothing that was sent but names of fields.
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
    """For options that cannot be."""
    return RefusedError(422, "invalid", message)
