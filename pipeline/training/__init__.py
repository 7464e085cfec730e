"""Training in plain torch: importable with torch, numpy, h5py and safetensors alone.

``data`` draws batches as a function of (seed, step), so a training has no data position to lose;
``checkpoint`` saves and restores everything else; ``loop`` runs any objective.
"""
