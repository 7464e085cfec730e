"""The one error of image reading, with a reason that can be counted."""

from __future__ import annotations

__all__ = ["ImageError"]


class ImageError(ValueError):
    """An image that cannot be used.

    Args:
        reason: A short stable word: ``missing``, ``empty``, ``not-an-image``, ``truncated``,
            ``unreadable``, ``unsupported``, ``cmyk``, ``alpha``, ``too-large``, ``too-small``,
            ``not-finite``, ``out-of-range`` or ``changed``.
        detail: One line for a person: what was found, what was expected, what to do.
        uri: The image, where it is known; part of ``str(error)`` but not of ``detail``.
    """

    def __init__(self, reason: str, detail: str, uri: str = "") -> None:
        super().__init__(f"{uri}: {detail}" if uri else detail)
        self.reason = reason
        self.detail = detail
        self.uri = uri

    def __reduce__(self) -> tuple[type[ImageError], tuple[str, str, str]]:
        # The default would call ImageError(message) when an error comes back from a worker.
        return ImageError, (self.reason, self.detail, self.uri)

    def at(self, uri: str) -> ImageError:
        """Return the same error with the image named."""
        return ImageError(self.reason, self.detail, uri)
