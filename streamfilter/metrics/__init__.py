"""Prometheus instruments, one module per owner; the caller passes the registry.

Labels are from closed sets: surveys of the loaded field maps, classes of the table, reasons and
verdicts of their enumerations. Seconds and bytes are base units, counters end in ``_total``.
"""
