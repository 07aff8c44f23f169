"""What users type as option values: attributes, durations, batch sizes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from opsflow.errors import UsageError, did_you_mean
from opsflow.model.attributes import merge

_KEY = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_WORDS = {"true": True, "false": False, "null": None, "~": None}


def attributes(settings: Sequence[str]) -> dict[str, Any]:
    """``["app.workers=4"]`` -> ``{"app": {"workers": 4}}``; later settings win, objects merge.

    Raises:
        UsageError: a setting has no '=', a malformed key or a malformed value.
    """
    merged: dict[str, Any] = {}
    for setting in settings:
        key, separator, text = setting.partition("=")
        if not separator:
            raise UsageError(f"--set {setting}: write KEY=VALUE, such as app.workers=4")
        if not _KEY.fullmatch(key):
            raise UsageError(f"--set {setting}: '{key}' is not a key; write names joined by dots, such as app.workers")
        value: Any = _value(setting, text)
        for part in reversed(key.split(".")):
            value = {part: value}
        merged = merge(merged, value)
    return merged


def _value(setting: str, text: str) -> Any:
    """A YAML 1.2 scalar, or a list, object or quoted string; so `no` and `0644` stay text."""
    if text in _WORDS:
        return _WORDS[text]
    if re.fullmatch(r"[-+]?(0|[1-9]\d*)", text):
        return int(text)
    if re.fullmatch(r"[-+]?(0|[1-9]\d*)(\.\d+([eE][-+]?\d+)?|[eE][-+]?\d+)", text):
        return float(text)
    return _flow(setting, text) if text[:1] in ("[", "{", '"', "'") else text


def _flow(setting: str, text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        reason = str(getattr(error, "problem", None) or error)
        raise UsageError(f"--set {setting}: the value is not valid YAML: {reason}") from None


def seconds(option: str, text: str) -> float:
    """``90``, ``90s``, ``10m``, ``1.5h`` -> seconds.

    Raises:
        UsageError: it is none of these.
    """
    found = _DURATION.fullmatch(text.strip())
    if not found:
        raise UsageError(f"{option} {text}: write a time such as 90, 90s, 10m or 1h")
    return float(found[1]) * _SECONDS[found[2] or "s"]


def limit(option: str, text: str) -> float:
    """A time limit in seconds.

    Raises:
        UsageError: it is no time, or none at all.
    """
    if not (found := seconds(option, text)):
        raise UsageError(f"{option} {text}: a time limit is more than 0, such as 90, 90s, 10m or 1h")
    return found


def suggestion(name: str, known: Iterable[str]) -> str:
    """``did you mean 'app1'?``, or what there is, or nothing."""
    names = list(dict.fromkeys(known))
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return did_you_mean(name, names) or (f"there is {shown}" if names else "")
