"""Results of long runs: rows kept by the hash of what decides them, and their tables."""
