"""Engines: published networks, read from their authors' release and run by a chosen runtime."""
