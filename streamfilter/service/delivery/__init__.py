"""How outputs, and offsets with them, reach the brokers."""
