"""InvDN (Liu et al. 2021): an invertible network that denoises by replacing a latent.

``network`` is the flow, ``denoise`` estimates the clean image, ``losses`` and ``bicubic`` are the
objective, ``training`` the task; ``prior`` and ``sampling`` make noise with it; ``weights`` and
``released`` read weights files and the released checkpoint.
"""
