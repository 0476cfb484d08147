"""A running worker: threads, signals, deadlines, metrics, and the order of delivery."""
