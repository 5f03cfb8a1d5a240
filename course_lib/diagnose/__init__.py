"""`course diagnose`: whether, what and how to transfer, and how sure that is."""
