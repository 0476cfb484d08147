"""Avro schemas: where writer schemas are found, wire forms, splicing, and what is published."""
