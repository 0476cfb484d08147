"""Traces single alerts as OpenTelemetry spans; it is off, and not imported, unless asked for.

The service imports only ``spans``, which is plain. The other modules import OpenTelemetry.
"""
