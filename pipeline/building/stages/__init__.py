"""The three stages: cut, generate, write. Plain callables, usable with or without Ray.

Each takes one shard's work and returns one shard's work; none knows who calls it.
"""
