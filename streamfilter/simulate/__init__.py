"""A simulated survey: a sky, contaminants and visits with known truth."""
