"""Noise against noise and picture against picture: metrics, blocks, scores of a block."""
