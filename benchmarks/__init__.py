"""Speed and memory, measured side by side: ``make bench``, or ``python -m benchmarks``.

Times of one machine mean little on another, so every line is a ratio of two things that run in turn
(A B A B ...) on the machine at hand, or a figure with a fixed limit (30 seconds, 1 GB). Benchmarks
are no tests: they need a quiet machine, and nothing fails where one is slow.
"""
