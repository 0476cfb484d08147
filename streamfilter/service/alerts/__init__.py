"""The worker for alerts, in the order of the data."""
