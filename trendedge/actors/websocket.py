"""WebSocket text frames as bytes (RFC 6455, section 5.2): without a mask towards the client, so one encoding serves
all of them."""

from collections.abc import Iterable

_FINAL_TEXT = 0x81


def text_frames(texts: Iterable[str]) -> bytes:
    """The texts as unfragmented, uncompressed frames, one after the other."""
    return b"".join(_frame(text.encode()) for text in texts)


def _frame(payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        return bytes((_FINAL_TEXT, size)) + payload
    if size < 65_536:
        return bytes((_FINAL_TEXT, 126)) + size.to_bytes(2) + payload
    return bytes((_FINAL_TEXT, 127)) + size.to_bytes(8) + payload
