"""From bytes to IR: load files, build the graph, lower functions and control flow."""
