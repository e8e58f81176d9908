"""Find out, without TensorFlow, which ops of a graph move running statistics, and when."""
