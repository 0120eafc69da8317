"""Measurements in SQL."""
