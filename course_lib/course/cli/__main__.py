"""``python -m course_lib.course.cli``: the `course` command where none is installed."""

import sys

from course_lib.course.cli import main

sys.exit(main())
