"""NAFlow (Kim et al. 2024): one flow over sRGB noise, one latent Gaussian per camera and ISO.

``network`` is the flow and its density, ``latent`` the distributions that samples start from,
``sampling`` the generator, ``folded`` the same network folded for speed, ``training`` the
objective, ``released`` the names of the released checkpoint.
"""
