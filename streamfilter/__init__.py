"""A real-time filter for astronomical alert streams."""

__version__ = "0.1.0"
