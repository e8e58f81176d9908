"""Render records and verdicts: text, tables, JSON, figures, TensorBoard, pages of the docs."""
