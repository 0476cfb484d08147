"""Engines: networks from their authors' releases, run by a chosen runtime."""
