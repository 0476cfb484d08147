"""Makes running parts from the settings."""
