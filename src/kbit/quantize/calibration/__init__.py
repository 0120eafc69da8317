"""What a model does on a text: the inputs of its layers, gathered block by block."""
