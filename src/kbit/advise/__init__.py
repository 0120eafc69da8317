"""Memory, frontier, advice."""
