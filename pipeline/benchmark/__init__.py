"""The benchmark: generators ranked by the denoisers trained on their noise.

``corpora`` makes the real patches, and each generator's noise on the same clean patches;
``fidelity`` measures how near that noise is to the real noise of the test places; ``work`` trains
one denoiser a row and seed, all with one budget, and ``scoring`` scores it; ``ranking`` gives
bootstrap intervals and paired gaps, ``table`` the outcome; ``run`` does all of it, row by row.
"""
