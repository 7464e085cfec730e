"""A training from its manifest: data found and read, the loop run, weights and cards published.

``kind: train-generator`` is :func:`pipeline.training.jobs.generator.train_generator`, ``kind:
train-denoiser`` :func:`pipeline.training.jobs.denoiser.train_denoiser`. The loop itself is plain
torch and knows neither manifests nor Ray: :mod:`pipeline.training.engine`.
"""
