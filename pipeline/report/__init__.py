"""The report of a corpus: one self-contained HTML page, and the gallery as a picture.

    samples = collect_samples(root, index, real_pairs=real_pairs_from(records, read_pixels))
    write_report(root, index, samples)

collect.py reads a sample of rows, measure.py gives numbers, figures.py draws, page.py lays out.
"""

from pipeline.report.collect import RealPairs, ReportSamples, collect_samples, real_pairs_from
from pipeline.report.page import render_report, write_report

__all__ = [
    "RealPairs",
    "ReportSamples",
    "collect_samples",
    "real_pairs_from",
    "render_report",
    "write_report",
]
