"""Models in the files of other tools, on the same yardstick: GGUF, and folders of other quantisers."""
