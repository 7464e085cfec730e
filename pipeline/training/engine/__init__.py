"""Training in plain torch: importable with torch, numpy, h5py and safetensors alone.

``checkpoint`` saves and restores everything but the data's position, which there is none of;
``loop`` runs any objective.
"""
