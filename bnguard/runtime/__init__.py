"""The process: signals, standard streams, installed packages, the quiet import of TensorFlow."""
