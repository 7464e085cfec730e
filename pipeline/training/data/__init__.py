"""Batches as a function of (seed, step), so a training has no data position to lose."""
