"""Measurements: of features, of domains, of gains, and of what can go wrong."""
