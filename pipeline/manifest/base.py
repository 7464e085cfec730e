"""The base class and the shared types of all parts of a manifest."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Filled", "Fraction", "Model", "Positive", "Split"]

Split = Literal["train", "val", "test"]
Positive = Annotated[int, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Filled = Annotated[str, Field(pattern=r"\S")]
"""Text that is more than blanks: names and paths."""


class Model(BaseModel):
    """Base of every part of a manifest: unknown keys forbidden, values frozen and finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
