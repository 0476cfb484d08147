"""The way of single alerts as OpenTelemetry spans; off, and not imported, unless asked for.

The service imports ``spans`` alone, which is plain. The other modules import OpenTelemetry.
"""
