"""The code blocks of the docs, and what their reader is assumed to have."""
