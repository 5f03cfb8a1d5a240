"""Methods of transfer: low-rank updates and their family, four bits, adaptation."""
