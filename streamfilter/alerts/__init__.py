"""Alerts: from a message to its annotation, one module per step."""
