"""Training of noise models and denoisers.

engine    the loop, the tasks it trains, checkpoints: plain torch
data      batches as a function of (seed, step): numpy and torch, no Ray, no manifests
jobs      a training from its manifest: data opened, the loop run, weights and cards published
"""
