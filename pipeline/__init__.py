"""The outside world: manifests, sources, Ray Data stages, corpora, training and the command line.

Importing this package loads nothing; :mod:`pipeline.training` runs without Ray and pydantic.
"""
