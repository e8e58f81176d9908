"""The process: signals, standard streams, and the quiet import of TensorFlow."""
