"""Measurements: of features, of domains, of gains, and of what can go wrong.

Features: :mod:`probes` (what can be read from them), :mod:`probing_tasks` (questions
to put), :mod:`similarity`, :mod:`orientation`, :mod:`effective_rank` (collapse),
:mod:`transferability` (which source).  Domains: :mod:`distances`, :mod:`shift`.
Errors: :mod:`subgroups`, :mod:`calibration`, :mod:`negative_transfer`.  Results over
seeds: :mod:`statistics`.  Time and memory: :mod:`usage`.  A whole set-up: :mod:`audit`.
"""
