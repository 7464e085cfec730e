"""What all sources of a manifest share, and how those of other distributions join them."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Any, ClassVar, Literal, Union, get_args

from pydantic import (
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_serializer,
)
from pydantic_core import CoreSchema
from pydantic_core.core_schema import (
    list_schema,
    no_info_wrap_validator_function,
    wrap_serializer_function_ser_schema,
)

from generators.capture import capture_column
from pipeline.kinds import SOURCES
from pipeline.manifest.base import Filled, Fraction, Model
from pipeline.manifest.names import Named, listed

__all__ = ["AuditLimits", "PlugInSources", "SourceBase", "Splits", "plug_in_source"]


class Splits(Model):
    """How scenes without a split of their own are divided, by a hash of the scene."""

    train: Fraction = Field(default=1.0, description="Share of the scenes used for training.")
    val: Fraction = Field(default=0.0, description="Share of the scenes used for validation.")
    test: Fraction = Field(
        default=0.0, validate_default=True, description="Share of the scenes used for testing."
    )

    @field_validator("test")
    @classmethod
    def _sum_to_one(cls, test: float, info: ValidationInfo) -> float:
        if "train" in info.data and "val" in info.data:
            total = info.data["train"] + info.data["val"] + test
            if abs(total - 1.0) > 1e-6:
                raise ValueError(f"train + val + test must be 1; they are {total:g}")
        return test


class AuditLimits(Model):
    """Thresholds of the pair audit; a pair or a patch beyond one is rejected."""

    max_offset: float | None = Field(
        default=None,
        gt=0,
        description="Largest |mean(noisy - clean)| of a patch, in grey levels of 255.",
    )
    max_shift: float | None = Field(
        default=None, gt=0, description="Largest misalignment of a pair, in pixels."
    )
    max_clipped: Fraction | None = Field(
        default=None,
        description="Largest fraction of samples at black or white in the noisy patch.",
    )
    max_noise: float | None = Field(
        default=None,
        gt=0,
        description="Largest noise standard deviation of a patch, in grey levels of 255.",
    )


class SourceBase(Model):
    """What all sources share.

    A source of another distribution is derived from this, has a ``type: Literal["its name"]``, and
    either says in ``scanner`` which function (``module:function``) takes it and the manifest's
    :class:`Splits` and returns a :class:`pipeline.sources.base.Scan`, or overrides :meth:`scan`.
    """

    scanner: ClassVar[str] = ""

    label: Filled | None = Field(
        default=None, description="Name of this source in reports; its type if absent."
    )
    license: str | None = Field(
        default=None, description="Licence of the photographs; carried into the corpus."
    )

    capture: dict[str, str | int | float] | None = Field(
        default=None,
        description="What the camera was told, by column (exposure in s, illuminant, gain, ...), "
        "for all images of which the source knows no better.",
    )

    @field_validator("capture")
    @classmethod
    def _known_columns(
        cls, capture: dict[str, str | int | float] | None
    ) -> dict[str, str | int | float] | None:
        for name, value in (capture or {}).items():
            try:
                capture_column(name).check(value)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        return capture

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Not told where it is not used: older manifests, and with them shards, keep their hash.
        values: dict[str, Any] = handler(self)
        return {key: value for key, value in values.items() if key != "capture" or value}

    def scan(self, splits: Splits) -> Any:
        """Return the :class:`pipeline.sources.base.Scan` of what lies there.

        The function is imported now: a manifest is read where image libraries are not wanted.

        Args:
            splits: How scenes without a split of their own are divided.

        Raises:
            FileNotFoundError: If it does not exist.
            ValueError: If it is empty or its metadata wrong.
        """
        module, _, function = self.scanner.partition(":")
        return getattr(import_module(module), function)(self, splits)


class PlugInSources(Named):
    """Lets a union of sources take those of other distributions, which are loaded when named."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Try the registry where a type is none of our own."""
        return no_info_wrap_validator_function(
            _read,
            handler(source),
            serialization=wrap_serializer_function_ser_schema(_write, info_arg=True),
        )

    def load(self, name: str) -> type[SourceBase]:
        """Return the model of a type; errors as :func:`plug_in_source`."""
        return plug_in_source(name)

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Add the sources of other distributions to the schema where they are wanted."""
        schema = handler(core_schema)
        for name in set(listed(SOURCES)) - set(SOURCES.built_in):
            # As items of a list: only parts of a schema become references to definitions.
            models = list_schema(plug_in_source(name).__pydantic_core_schema__)
            part = handler(models)["items"]
            schema["oneOf"].append(part)
            schema["discriminator"]["mapping"][name] = part["$ref"]
        return schema


def plug_in_source(name: str) -> type[SourceBase]:
    """Return the model of another distribution's source.

    Raises:
        ValueError: If it cannot be imported, or is no model of that name.
    """
    model: type[SourceBase] = SOURCES.load(name)
    tag = model.model_fields.get("type")
    if tag is None or name not in get_args(tag.annotation):
        raise ValueError(
            f"plug-in source '{name}' of {SOURCES.owner(name)} has no `type: Literal[\"{name}\"]`; "
            "mend or remove that distribution."
        )
    return model


class _Nothing(SourceBase):
    """A union of one is no union to pydantic."""

    type: Literal[""]


def _read(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    if isinstance(value, SourceBase):
        return value
    name = value.get("type") if isinstance(value, dict) else None
    if not isinstance(name, str) or name in SOURCES.built_in or name not in SOURCES:
        return handler(value)
    # Of two models, so that pydantic puts the tag into the path of an error as it does for ours.
    either: Any = Union[_Nothing, plug_in_source(name)]  # noqa: UP007
    adapter: TypeAdapter[Any] = TypeAdapter(Annotated[either, Field(discriminator="type")])
    return adapter.validate_python(value)


def _write(source: Any, handler: Any, info: SerializationInfo) -> Any:
    if source.type in SOURCES.built_in:
        return handler(source)
    return source.model_dump(
        mode=info.mode,
        exclude_defaults=info.exclude_defaults,
        exclude_none=info.exclude_none,
        exclude_unset=info.exclude_unset,
    )
