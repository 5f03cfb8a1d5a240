#!/usr/bin/env bash
# pandas 3.1.1: DataFrame.to_csv puts a text that holds a line feed into quotation marks,
# but not one that holds a lone carriage return (old Mac exports, text copied out of
# forms and terminals).  read_csv takes that sign for the end of a record.  A table of
# two rows comes back with three: the text is cut, its rest stands in another row, and
# the label belongs to the rest.  No warning on either side.
#
# Seen on 2026-11-29: two rows written; read back are ("one", nan), ("two", "a"),
# ("three", "b").
# Source: own observation; RFC 4180, section 2.6, wants such fields in quotation marks.
set -euo pipefail
where=$(mktemp -d)
trap 'rm -rf "$where"' EXIT
python3 -m venv "$where/env"
"$where/env/bin/pip" install --quiet pandas==3.1.1
"$where/env/bin/python" - "$where/table.csv" <<'PY'
import sys

import pandas as pd

path = sys.argv[1]
table = pd.DataFrame({"text": ["one\rtwo", "three"], "label": ["a", "b"]})
table.to_csv(path, index=False)
back = pd.read_csv(path, keep_default_na=False)
print(back.values.tolist())
expected = [["one", ""], ["two", "a"], ["three", "b"]]
assert back.values.tolist() == expected, "the behaviour changed"
table.replace({"\r": "\n"}, regex=True).to_csv(path, index=False)
assert len(pd.read_csv(path)) == len(table) == 2  # a line feed is kept
PY
