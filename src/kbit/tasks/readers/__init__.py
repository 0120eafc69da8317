"""Real files as items: one layout a file."""
