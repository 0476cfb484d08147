"""FITS: stamps, headers, and what compressed tiles may unpack to."""
