"""Denoisers: images in, images out.

May import :mod:`generators`, torch, numpy and safetensors, and nothing else.
"""
