"""Run the cases in repro/ and fixed/."""
