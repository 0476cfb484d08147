"""The worker for exposures, in the order of the data."""
