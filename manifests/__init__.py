"""Bundled manifests: YAML only. A package, so that they are found by name in a wheel too."""
