"""Scaling-law forms, fits and their intervals."""
