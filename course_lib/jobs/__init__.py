"""`course train` and `course predict`: one's own data, a configuration, a report."""
