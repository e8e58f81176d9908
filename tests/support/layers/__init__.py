"""Run layers, observe them, and compute them in NumPy."""
