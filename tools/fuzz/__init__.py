"""Fuzzing: inputs that nobody wrote, and what must hold for each."""
