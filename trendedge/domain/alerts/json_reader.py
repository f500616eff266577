"""A reader of JSON that is almost JSON: it makes the safe repairs, records them, and knows where each value stands.

It reads what the fast parser refuses, and what has to be looked at more closely: keys given twice, escaped secrets.
What it accepts beyond JSON can be read in one way only: typographic quotes around a whole string, a comma before a
closing bracket, and a bare `NaN`, `na` or `{{placeholder}}` as a value, which become text for `interpret` to refuse.
"""

import re
from dataclasses import dataclass, field
from typing import Final

import orjson

from trendedge.domain.alerts.errors import AlertRefused, printable, shown, unacceptable, unreadable
from trendedge.domain.alerts.fields import MAX_DEPTH, MAX_FIELDS, Value
from trendedge.domain.alerts.redaction import is_secret_name
from trendedge.domain.signals import Repair

_SPACE: Final = re.compile(r"[ \t\r\n]*")
_STRING: Final = re.compile(r'"([^"\\\x00-\x1f]*(?:\\.[^"\\\x00-\x1f]*)*)"')
# Without typographic quotes inside: where such a string ends would be a guess.
_SMART_STRING: Final = re.compile(r'[“”„‟]((?:[^"“”„‟\\\x00-\x1f]|\\.)*)[“”„‟"]')
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?(?![\w.])")
_WORD: Final = re.compile(r"-?[A-Za-z][A-Za-z/]{0,8}(?![\w.])")
_PLACEHOLDER: Final = re.compile(r"\{\{[^{}\n]{1,100}\}\}")
_LITERALS: Final[dict[str, Value]] = {"true": True, "false": False, "null": None}
_NO_VALUES: Final = frozenset({"nan", "na", "n/a", "inf", "-inf", "infinity", "-infinity", "-nan"})


@dataclass(slots=True)
class JsonReader:
    """Reads one object from `text`; call `read` once, then look at the rest."""

    text: str
    repairs: list[Repair] = field(default_factory=list)
    clash: AlertRefused | None = None
    """The first key that was given twice with different values."""
    strings: list[tuple[int, int, str]] = field(default_factory=list)
    """Each string, keys too: its range in the text, quotes included, and what it says."""
    secrets: list[tuple[int, int]] = field(default_factory=list)
    """The ranges of the values that stand under a secret's name."""
    _at: int = 0
    _members: int = 0

    def read(self) -> dict[str, Value]:
        """The object that is the whole text.

        :raises AlertRefused: 400, with the place where it stops being JSON
        """
        self._skip()
        found = self._object("", 1)
        self._skip()
        if self._at < len(self.text):
            raise self._stuck("the end of the alert after the closing brace")
        return found

    def _value(self, path: str, depth: int) -> Value:
        match self.text[self._at : self._at + 1]:
            case "{" if placeholder := _PLACEHOLDER.match(self.text, self._at):
                return self._quoted(path, placeholder)
            case "{":
                return self._object(path, depth)
            case "[":
                return self._list(path, depth)
            case '"' | "“" | "”" | "„" | "‟":
                return self._string()
        if number := _NUMBER.match(self.text, self._at):
            self._at = number.end()
            return number[0]
        word = _WORD.match(self.text, self._at)
        if word is not None and word[0] in _LITERALS:
            self._at = word.end()
            return _LITERALS[word[0]]
        if word is not None and word[0].lower() in _NO_VALUES:
            return self._quoted(path, word)
        raise self._stuck("a value")

    def _object(self, path: str, depth: int) -> dict[str, Value]:
        self._enter("{", depth)
        found: dict[str, Value] = {}
        while not self._leave("}", first=not found):
            key = self._string()
            self._expect(":")
            self._skip()
            start, below = self._at, f"{path}.{key}" if path else key
            value = self._value(below, depth + 1)
            if is_secret_name(key):
                self.secrets.append((start, self._at))
            if key in found:
                self._twice(below, found[key], value, secret=is_secret_name(key))
            found[key] = value
        return found

    def _list(self, path: str, depth: int) -> list[Value]:
        self._enter("[", depth)
        found: list[Value] = []
        while not self._leave("]", first=not found):
            self._skip()
            found.append(self._value(path, depth + 1))
        return found

    def _enter(self, bracket: str, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise too_deep()
        self._expect(bracket)

    def _leave(self, bracket: str, *, first: bool) -> bool:
        """Whether the object or list ends here; else stands before its next member."""
        self._skip()
        comma = not first and self._take(",")
        self._skip()
        if self._take(bracket):
            if comma:
                self._repaired("body", f",{bracket}", bracket)
            return True
        if not first and not comma:
            raise self._stuck(f'"," or "{bracket}"')
        self._members += 1
        if self._members > MAX_FIELDS:
            raise too_many()
        return False

    def _string(self) -> str:
        found = _STRING.match(self.text, self._at)
        if found is None:
            found = _SMART_STRING.match(self.text, self._at)
            if found is None:
                raise self._stuck("text in double quotes")
            self._repaired("body", "typographic quotes", "straight quotes")
        try:
            text = orjson.loads(f'"{found[1]}"') if "\\" in found[1] else found[1]
        except ValueError:
            raise self._stuck("text", seen="an escape that is no character (a lone surrogate?) in the text") from None
        self._at = found.end()
        self.strings.append((found.start(), found.end(), text))
        return str(text)

    def _quoted(self, path: str, bare: re.Match[str]) -> str:
        self._at = bare.end()
        self._repaired(path or "body", bare[0], f'"{bare[0]}"')
        return bare[0]

    def _twice(self, path: str, first: Value, second: Value, *, secret: bool) -> None:
        if first == second:
            self._repaired(path, "given twice", "given once")
        elif secret:
            raise unreadable("two different values", "give the key once", field=path)
        elif self.clash is None:
            self.clash = clash(path, first, second)

    def _repaired(self, path: str, was: str, became: str) -> None:
        repair = Repair(printable(path), was, became)
        if repair not in self.repairs:
            self.repairs.append(repair)

    def _skip(self) -> None:
        space = _SPACE.match(self.text, self._at)
        self._at = space.end() if space else self._at

    def _take(self, character: str) -> bool:
        if self.text.startswith(character, self._at):
            self._at += 1
            return True
        return False

    def _expect(self, character: str) -> None:
        self._skip()
        if not self._take(character):
            raise self._stuck(f'"{character}"')

    def _stuck(self, wanted: str, *, seen: str = "") -> AlertRefused:
        # One character at most: the text around it may hold the sender's key.
        line = self.text.count("\n", 0, self._at) + 1
        column = self._at - self.text.rfind("\n", 0, self._at)
        seen = seen or (shown(self.text[self._at]) if self._at < len(self.text) else "the end")
        return unreadable(f"{seen} at line {line}, column {column} of the JSON", f"{wanted} must stand there")


def clash(path: str, first: Value, second: Value) -> AlertRefused:
    """The refusal of one field that was given twice and says two things."""
    return unacceptable(path, f"{shown(first)} and {shown(second)}", "give the field once")


def too_many() -> AlertRefused:
    """The refusal of more fields than any vendor's alert has."""
    return unreadable(f"more than {MAX_FIELDS} fields", f"send at most {MAX_FIELDS} fields")


def too_deep() -> AlertRefused:
    """The refusal of nesting that no vendor's alert has."""
    return unreadable(f"more than {MAX_DEPTH} levels of nesting", f"nest at most {MAX_DEPTH} levels deep")
