"""The worker for exposures."""
