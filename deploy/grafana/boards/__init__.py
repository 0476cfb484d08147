"""The dashboards, as data, and how they are drawn for Grafana."""
