"""Alerts: from a message to its annotation, one module per step, in the order of the data."""
