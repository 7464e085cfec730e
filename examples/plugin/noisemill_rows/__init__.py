"""Row noise for noisemill: a generator, a source and a metric, each joined by an entry point."""
