"""Choosing codes for one weight, given what its errors cost."""
