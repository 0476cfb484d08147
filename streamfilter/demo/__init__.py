"""The demonstration: a simulated survey through real workers, audited."""
