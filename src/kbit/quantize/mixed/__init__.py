"""Mixed precision: a format for each layer, so that the least is lost within a budget of stored bits."""
