"""Understand a graph, and say who moves its running statistics, without TensorFlow."""
