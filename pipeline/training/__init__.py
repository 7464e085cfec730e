"""Training: ``engine`` in plain torch, ``data`` for its batches, ``jobs`` from manifests."""
