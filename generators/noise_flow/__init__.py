"""Noise Flow (Abdelhamed et al. 2019): a small flow over raw noise that knows camera and ISO.

``network`` is the flow and its density, ``sampling`` the generator, ``training`` the objective,
``released`` the names of the released checkpoints.
"""
