"""Layers of normalising flows, shared by the noise models.

``bijection`` states the contract; ``pointwise`` are channel maps that act on every pixel alike
(ActNorm, invertible 1x1 convolution) and fold into one another; ``reshape`` trades pixels for
channels; ``coupling`` holds the conditional affine coupling; ``condition`` encodes the clean image.
"""
