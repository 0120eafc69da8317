"""k-bit layers and folders: load, save, generate."""
