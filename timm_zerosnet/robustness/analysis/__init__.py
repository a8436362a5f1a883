"""From measured cells to accuracy, corruption error, intervals and comparisons."""
