"""An audit of arguments by name, whichever of its groups they belong to."""

from dataclasses import fields

from course_lib.analysis import audit


def audited(*given, **more):
    """`audit.audit` with the fields of Loop and Run among the keywords."""
    groups = {}
    for name, group in (("loop", audit.Loop), ("run", audit.Run)):
        own = {f.name: more.pop(f.name) for f in fields(group) if f.name in more}
        groups[name] = group(**own)
    return audit.audit(*given, **more, **groups)
