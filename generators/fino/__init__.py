"""FINO: one flow that separates what a photograph shows from its noise.

``network`` is the flow and its two codes, ``losses`` what makes them mean content and noise,
``training`` the objective, ``sampling`` the generator: the noise code of a noisy reference, put on
another photograph.
"""
