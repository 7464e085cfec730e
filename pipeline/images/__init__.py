"""Photographs from files: headers for the plan, pixels for the workers.

A *URI* names one image: a path, an fsspec URL, ``skimage:astronaut``, or one row of a corpus
(``train-00000-of-00002.h5#17``, with ``/noisy`` behind it for the noisy partner). Two functions
read it: :func:`read_header` looks at the file's structure and hashes it without decoding a pixel;
:func:`read_pixels` decodes. Both refuse what cannot become a training image with an
:class:`ImageError` that carries a short, countable reason.
"""

from pipeline.errors import ImageError
from pipeline.images.files import display
from pipeline.images.headers import Header
from pipeline.images.pixels import decode
from pipeline.images.probe import MAX_PIXELS, MIN_SIDE
from pipeline.images.reading import read_header, read_pixels, read_unchanged

__all__ = [
    "MAX_PIXELS",
    "MIN_SIDE",
    "Header",
    "ImageError",
    "decode",
    "display",
    "read_header",
    "read_pixels",
    "read_unchanged",
]
