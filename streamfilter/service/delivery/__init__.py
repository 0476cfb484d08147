"""How outputs reach the brokers, and offsets with them."""
