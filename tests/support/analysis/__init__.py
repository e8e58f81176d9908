"""Graphs for the analysis: by hand, at random, hostile, and of small networks."""
