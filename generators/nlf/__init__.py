"""Noise level functions, measured on images instead of read from a table.

``calibration`` fits them, ``network`` is the density with trainable levels, ``sampling`` the
generator, ``training`` the task.
"""
