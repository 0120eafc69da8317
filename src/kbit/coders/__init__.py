"""Anything that gives a document a code length in bits."""
