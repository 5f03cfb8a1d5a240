"""The course around the library: lessons run, exercises, grading, web edition."""

import sys

# nbformat imports jsonschema, and that compiles 39 grammars for one kind of address
# (IRIs) as soon as this package is installed: 1.2 s of every command.  No schema of
# notebooks asks for it.
sys.modules.setdefault("rfc3987_syntax", None)
