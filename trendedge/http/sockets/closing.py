"""The close codes, and the exception that carries one to where the socket is closed."""

from enum import IntEnum


class CloseCode(IntEnum):
    """Why a socket ends. Those from 4000 on are ours; the others are of RFC 6455."""

    NORMAL = 1000
    GOING_AWAY = 1001
    ABNORMAL = 1006
    """The client is gone without a word: for the log, it cannot be sent."""
    TOO_MANY_FRAMES = 1008
    FRAME_TOO_LARGE = 1009
    INTERNAL_ERROR = 1011
    TRY_AGAIN_LATER = 1013
    NOT_AUTHENTICATED = 4401
    NO_HEARTBEAT = 4408
    TOO_MANY_CONNECTIONS = 4409
    TOO_SLOW = 4413


class CloseSocket(Exception):
    """The socket ends with this code."""

    def __init__(self, code: CloseCode) -> None:
        super().__init__(f"close with {code.value} ({code.name})")
        self.code = code
