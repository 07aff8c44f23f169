"""What all models share: frozen, nothing unknown accepted."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Misfit(ValueError):
    """A value does not fit; ``at`` is the way to it from what is being validated, for an error to point there."""

    def __init__(self, message: str, *at: str | int, hint: str | None = None) -> None:
        super().__init__(message)
        self.at = at
        self.hint = hint


class Model(BaseModel):
    """A frozen value. Unknown fields are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, use_attribute_docstrings=True)
