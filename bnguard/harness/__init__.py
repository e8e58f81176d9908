"""What every file in `repro/` and `fixed/` is run by."""
