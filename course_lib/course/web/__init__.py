"""The web edition: a static site of the executed lessons, for readers without Python.

``build`` makes it; ``pages`` writes the sources, ``extension`` is what Sphinx runs.
"""
