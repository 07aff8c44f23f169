"""Tags of machines (OpsWorks: Tags)."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from opsflow.model.base import Misfit

_ALLOWED = re.compile(r"[\w +=.:/-]*")


def _rules(tags: dict[str, str]) -> dict[str, str]:
    for key, value in tags.items():
        if not key.strip() or len(key) > 127 or len(value) > 255:
            raise Misfit("a tag has a key of 1 to 127 characters and a value of at most 255", key)
        if key.lower() == "name" or re.match("(?:aws|opsworks|rds):", key, re.IGNORECASE):
            raise Misfit(f"the tag '{key}' is reserved", key, hint="choose another key")
        if not _ALLOWED.fullmatch(key) or not _ALLOWED.fullmatch(value):
            raise Misfit("a tag has letters, digits, spaces and + - = . _ : / only", key)
    return tags


Tags = Annotated[dict[str, str], AfterValidator(_rules), Field(max_length=40)]
