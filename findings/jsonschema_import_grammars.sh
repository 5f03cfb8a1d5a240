#!/usr/bin/env bash
# nbformat 5.11.1 with jsonschema 4.26.0 and rfc3987-syntax 1.1.0, as JupyterLab installs
# them together: `import nbformat` compiles 39 grammars of internationalised addresses
# (RFC 3987) by lark before it returns, though no schema of notebooks asks for that
# format.  Every process that only reads a notebook takes 1.2 s longer; an optional
# extra of one package slows the import of another that never calls it.
#
# Seen on 2026-11-29: 39 parsers made during the import; 1.4 s with the package, 0.2 s
# where it is kept out.  Source: own observation.
set -euo pipefail
where=$(mktemp -d)
trap 'rm -rf "$where"' EXIT
python3 -m venv "$where/env"
"$where/env/bin/pip" install --quiet nbformat==5.11.1 jsonschema==4.26.0 \
  rfc3987-syntax==1.1.0 lark==1.3.1
"$where/env/bin/python" - <<'PY'
import time

import lark

made = []
original = lark.Lark.__init__


def counted(self, *arguments, **options):
    made.append(1)
    original(self, *arguments, **options)


lark.Lark.__init__ = counted
started = time.perf_counter()
import nbformat  # noqa: E402, F401

print(f"{len(made)} grammars compiled, {time.perf_counter() - started:.1f} s")
assert len(made) >= 30, "the behaviour changed"
PY
