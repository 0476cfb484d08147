"""The way of single alerts as OpenTelemetry spans; off, and not imported, unless asked for.

A span is a plain value here. Only ``otlp``, the leaf that sends them, imports OpenTelemetry.
"""
