"""Guards for a user's own program: running statistics change in training, and only then.

Importing this package does not import TensorFlow, because pytest loads its plugin at every start.
"""
