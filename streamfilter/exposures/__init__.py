"""Exposures: from a message to tracking verdicts and masks, in the order of the data."""
