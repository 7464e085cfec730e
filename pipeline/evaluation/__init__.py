"""Evaluations: a corpus, generators or denoisers held against real noise or clean images.

One evaluation is a list of rows, a generator or a denoiser each. A row is measured by itself, kept
in a file of its own as soon as it is done, and may fail without taking the others along.
"""

from pipeline.evaluation.rows import Row
from pipeline.evaluation.run import Evaluated, evaluate

__all__ = ["Evaluated", "Row", "evaluate"]
