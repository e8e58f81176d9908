"""Case files: the types they are made of, discovery, docstrings, loading."""
