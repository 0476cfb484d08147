"""FITS: stamps, and checks of headers and compressed tiles before astropy reads them."""
