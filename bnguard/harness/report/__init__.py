"""Render records: console, figure, TensorBoard, docs pages."""
