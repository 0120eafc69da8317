"""What k bits are: data types, blocks, exact size, encode, decode, packing. Tensors only."""
