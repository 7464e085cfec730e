"""Flow-sRGB (Kousha et al. 2022): a small flow over sRGB noise, conditioned on camera and ISO.

``network`` is the flow and its density, ``embedding`` what it makes of camera and ISO, ``sampling``
the generator, ``training`` the objective, ``released`` the names of the released checkpoint.
"""
