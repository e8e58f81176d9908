"""Checkpoints that are damaged, or lie."""
