"""The process: signals, streams, opening files, installed packages, the import of TensorFlow."""
