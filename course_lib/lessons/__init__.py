"""The experiments behind the lessons' figures, and the ledger of their claims.

A lesson has a module ``lessonNN``, or several: its grids and its figures.  A cell of a
grid trains and measures one combination of settings and returns plain numbers.  What
all grids share is in ``protocol``; ``results`` defines and reads them, ``experiments``
computes them again, ``claims`` keeps what the lessons found.
"""
