"""Whole models to k bits."""
