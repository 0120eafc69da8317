"""What code lengths say: gain, divergence, intervals."""
