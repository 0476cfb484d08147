"""Training of the network ``stampmask``; no part of the wheel, and a framework only here."""
