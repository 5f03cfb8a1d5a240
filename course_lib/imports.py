"""Imports made quicker, where a package does at import what nobody needs."""

import sys


def without_addresses() -> None:
    """Let jsonschema do without checks of international addresses (RFC 3987).

    Its package for them builds a parser when imported, which takes a second of every
    program that opens a notebook; notebooks have no field of that kind.  Call it before
    the first import of nbformat, in programs of the course only.
    """
    if "jsonschema" not in sys.modules:
        sys.modules.setdefault("rfc3987_syntax", None)  # as if it were not installed
