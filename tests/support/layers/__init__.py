"""Layers run, observed, and computed again in NumPy."""
