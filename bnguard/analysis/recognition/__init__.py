"""What in a graph is batch normalization: layers, statistics, writes, gradients, Savers."""
