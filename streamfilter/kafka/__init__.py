"""Kafka at the rim: source, sink, and the ledger of what may be committed."""
