"""The course around the library: lessons run, exercises, grading, web edition."""
