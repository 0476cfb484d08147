"""The worker for alerts."""
