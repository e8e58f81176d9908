"""The files of a checkpoint, read without TensorFlow and without NumPy, and checked first."""
