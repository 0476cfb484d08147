"""Prometheus instruments, one module per owner, made in a registry that is handed in.

Labels are from closed sets: surveys of the loaded field maps, classes of the table, reasons and
verdicts of their enumerations. Seconds and bytes are base units, counters end in ``_total``.
"""
