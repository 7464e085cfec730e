"""Names in a manifest that a registry knows: how the check and the schema learn of them.

A field says which registry its text is a name of:

    name: Annotated[str, Named(generators.REGISTRY)]

The check then refuses a name that is not there, with its line and a guess, in every kind of
manifest; the schema lists the names. The models themselves take any text: a corpus made with
another distribution's generator is still read where that is not installed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import GetJsonSchemaHandler
from pydantic_core import CoreSchema

import denoisers
import generators
from generators.registry import Registry
from pipeline.kinds import FORMATS
from pipeline.manifest.base import Filled

__all__ = [
    "DenoiserName",
    "FormatName",
    "GeneratorName",
    "Named",
    "TrainingName",
    "listed",
    "with_plug_ins",
]

_plug_ins: ContextVar[bool] = ContextVar("plug_ins", default=False)


@dataclass(frozen=True, slots=True)
class Named:
    """Marks a text as one of a registry's names.

    Args:
        registry: Where the names are listed.
        fits: Which of them may stand here; all if absent. May import what the name stands for.
    """

    registry: Registry
    fits: Callable[[str], bool] | None = None

    def names(self) -> tuple[str, ...]:
        """Return what may stand here, built in and installed, sorted.

        Raises:
            ValueError: If two distributions give one name.
        """
        return tuple(name for name in self.registry.names() if self._fits(name))

    def allows(self, name: str) -> bool:
        """Return True if a name may stand here.

        Raises:
            ValueError: If two distributions give one name, or a plug-in cannot be imported.
        """
        return name in self.registry and (self.fits is None or self.fits(name))

    def load(self, name: str) -> Any:
        """Import what a name stands for.

        Raises:
            ValueError: If a plug-in cannot be imported or is no such thing.
        """
        return self.registry.load(name)

    def _fits(self, name: str) -> bool:
        """Return True if a name may stand here; a plug-in that cannot be imported may not."""
        try:
            return self.fits is None or self.fits(name)
        except ValueError:
            return False

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """List the names in the schema."""
        schema = {key: value for key, value in handler(core_schema).items() if key != "pattern"}
        return {**schema, "enum": [name for name in listed(self.registry) if self._fits(name)]}


GeneratorName = Annotated[Filled, Named(generators.REGISTRY)]
TrainingName = Annotated[Filled, Named(generators.TASKS)]
DenoiserName = Annotated[Filled, Named(denoisers.REGISTRY, fits=denoisers.is_trained)]
"""A denoiser that can be trained."""
FormatName = Annotated[Filled, Named(FORMATS)]


@contextmanager
def with_plug_ins() -> Iterator[None]:
    """Let schemas that are made inside list what other distributions add."""
    token = _plug_ins.set(True)
    try:
        yield
    finally:
        _plug_ins.reset(token)


def listed(registry: Registry) -> tuple[str, ...]:
    """Return the names that a schema lists: built in, and installed inside `with_plug_ins`."""
    return registry.names() if _plug_ins.get() else tuple(sorted(registry.built_in))
