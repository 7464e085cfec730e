"""Glow (Kingma and Dhariwal 2018): an exact density of clean photographs.

``network`` is the flow, its log-density and its samples; ``training`` the objective. It makes no
noise: denoisers that search for the most likely clean image use it as a prior.
"""
