"""What every section of a sweep file is: checked, frozen, and without unknown keys."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict


def _whole(value: Any) -> Any:
    """Accept 1e6 where a whole number is meant; YAML has no other short way to write it."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = Annotated[int, BeforeValidator(_whole)]


class Section(BaseModel):
    """A section of the sweep file."""

    model_config = ConfigDict(extra="forbid", frozen=True)
