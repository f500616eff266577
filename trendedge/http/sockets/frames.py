"""What a client may say over the WebSocket, validated before anything looks at it."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

type Channel = Literal["trades", "trendlines", "system"]


class InvalidFrame(Exception):
    """The client sent what is no frame of this protocol."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field, self.message = field, message


class _Frame(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Auth(_Frame):
    """The token, as the first message of a client that could not send it with the handshake."""

    type: Literal["auth"]
    token: Annotated[str, Field(max_length=8192, repr=False)]


class Ping(_Frame):
    """Answered with a pong."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    type: Literal["ping"]


class Pong(_Frame):
    """The answer to our ping, and the only sign of life that counts."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    type: Literal["pong"]


class Subscribe(_Frame):
    """Have the events of these channels sent."""

    type: Literal["subscribe"]
    channels: Annotated[list[Channel], Field(max_length=16)]


class Unsubscribe(_Frame):
    """No longer have them sent."""

    type: Literal["unsubscribe"]
    channels: Annotated[list[Channel], Field(max_length=16)]


class Resume(_Frame):
    """Have everything sent again that came after this event."""

    type: Literal["resume"]
    after: Annotated[str, Field(min_length=1, max_length=64)]


type Frame = Auth | Ping | Pong | Subscribe | Unsubscribe | Resume

_FRAMES: TypeAdapter[Frame] = TypeAdapter(
    Annotated[Auth | Ping | Pong | Subscribe | Unsubscribe | Resume, Field(discriminator="type")]
)


def read_frame(text: str) -> Frame:
    """One frame from its JSON.

    :raises InvalidFrame: not JSON, of an unknown type, or with a wrong field
    """
    try:
        return _FRAMES.validate_json(text.encode("utf-8", "surrogatepass"))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        field = ".".join(str(part) for part in first["loc"][1:]) or "type"
        raise InvalidFrame(field, first["msg"][:200]) from None
