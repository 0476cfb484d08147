"""The demonstration: real workers filter a simulated survey, and every alert is audited."""
