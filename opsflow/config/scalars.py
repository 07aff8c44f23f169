"""What an unquoted word means. Where YAML 1.1 and 1.2 disagree, or a number would lose something, it is refused."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

Scalar = str | int | float | bool | None

_FIXED: dict[str, bool | None] = {
    "": None,
    "~": None,
    **dict.fromkeys(("null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_WORDS = {
    form: meaning
    for word, meaning in (("yes", "true"), ("on", "true"), ("no", "false"), ("off", "false"))
    for form in (word, word.capitalize(), word.upper())
}
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)\.[0-9]*(?:[eE][-+][0-9]+)?|\.[0-9]+(?:[eE][-+][0-9]+)?")
_LOSSY = re.compile(r"[^.]*\.[0-9]+0")
_QUOTE = 'put it in quotes: "{}"'
_FULL = 'write the number in full, or "{}" for text'
_BOTH = "is text in YAML 1.1 and a number in YAML 1.2"
_OLD = "is a number in YAML 1.1 and text in YAML 1.2"
_SURPRISES = tuple(
    (re.compile(form), why, hint)
    for form, why, hint in (
        (r"[-+]?0[0-7]+", "is octal in YAML 1.1", 'write {octal} or {decimal}, or "{}" for text'),
        (r"[-+]?0[0-9]+", _BOTH, 'write {decimal}, or "{}" for text'),
        (r"0o[0-7]+", "is text in YAML 1.1 and octal in YAML 1.2", _QUOTE),
        (r"[-+]?0b[01_]+", _OLD, _QUOTE),
        (r"[-+]?0x[0-9a-fA-F_]+", _OLD, _QUOTE),
        (r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?", "is a number in base 60 in YAML 1.1", _QUOTE),
        (r"[-+]?[0-9][0-9_]*_[0-9_]*(?:\.[0-9_]*)?(?:[eE][-+]?[0-9]+)?", _OLD, _QUOTE),
        (r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?", _BOTH, _FULL),
        (r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", "is no number that can be used here", "leave it out or quote it"),
        (r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:(?:[Tt]|[ \t]+)[0-9].*)?", "is a date in YAML 1.1", _QUOTE),
    )
)


@dataclass(frozen=True, slots=True)
class Surprise:
    """An unquoted word that does not mean what it looks like."""

    message: str
    hint: str


def resolve(text: str) -> Scalar | Surprise:
    """The value of an unquoted word, or why it is refused."""
    if text in _FIXED:
        return _FIXED[text]
    if text in _WORDS:
        meaning = _WORDS[text]
        return Surprise(f"unquoted '{text}' is {meaning} in YAML 1.1", f'write {meaning}, or "{text}" for text')
    if text[0] not in "+-.0123456789" or len(text) > 400:
        return text
    if _INTEGER.fullmatch(text):
        return _integer(text)
    if _FLOAT.fullmatch(text):
        return _float(text)
    return next((_refuse(text, why, hint) for form, why, hint in _SURPRISES if form.fullmatch(text)), text)


def _integer(text: str) -> int | Surprise:
    number = int(text, 16 if text.startswith("0x") else 10)
    if -(2**63) <= number < 2**63:
        return number
    return Surprise(f"unquoted '{text}' is too large for a number", _QUOTE.format(text))


def _float(text: str) -> float | Surprise:
    number = float(text)
    if not math.isfinite(number):
        return Surprise(f"unquoted '{text}' is too large for a number", _QUOTE.format(text))
    if _LOSSY.fullmatch(text) and repr(number) != text.lstrip("+"):
        return Surprise(f"unquoted '{text}' would become {number!r}", f'write "{text}" for text, or {number!r}')
    return number


def _refuse(text: str, why: str, hint: str) -> Surprise:
    digits = text.lstrip("+-")
    octal = int(digits, 8) if re.fullmatch("[0-7]+", digits) else 0
    decimal = digits.lstrip("0") or "0"
    return Surprise(f"unquoted '{text}' {why}", hint.format(text, octal=octal, decimal=decimal))
