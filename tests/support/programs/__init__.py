"""Programs in the style of TF1 users, for tests to run."""
