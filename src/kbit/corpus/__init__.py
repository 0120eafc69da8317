"""Documents: read, clean, deduplicate, split."""
