"""Metrics, each a function of sums over items."""
