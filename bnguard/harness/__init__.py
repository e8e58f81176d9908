"""Run the cases of `repro/` and `fixed/`, judge what they claim, and report."""
