"""From a manifest to a corpus: recipe, plan, stages, run, resume, finish."""
