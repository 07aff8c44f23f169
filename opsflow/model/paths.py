"""Paths that users write, checked as text: nothing here looks at a disk."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

from opsflow.model.base import Misfit, Shape

_INSIDE = r"(?![/~-])(?!(?:.*/)?\.\.(?:/|$))[^\x00-\x1f\x7f\\]{1,1000}"


def _inside(value: str) -> str:
    if not re.fullmatch(_INSIDE, value):
        raise Misfit(
            f"'{value[:100]}' is not a relative path that stays inside",
            hint="write a path without '..', not starting with '/', '~' or '-'",
        )
    return value


def _absolute(value: str) -> str:
    if not re.fullmatch(r"/[A-Za-z0-9._/-]{1,1000}", value) or ".." in value.split("/"):
        raise ValueError(f"'{value[:100]}' is not an absolute path such as /srv/www/shop")
    return value


InsidePath = Annotated[str, AfterValidator(_inside), Shape(f"^{_INSIDE}$")]
"""A relative path that cannot leave the directory that it is relative to."""
AbsolutePath = Annotated[str, AfterValidator(_absolute), Shape(r"^/[A-Za-z0-9._/-]+$")]
"""A path on an instance."""
