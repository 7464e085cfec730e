"""What lies on disk: index, shard records, columns, formats, and everything that reads a corpus."""
