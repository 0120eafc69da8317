"""Text that a model generates: made with each token's bits, and compared with human text."""
