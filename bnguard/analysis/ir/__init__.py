"""The graph: its op types, its tensor values, and the protobuf messages that it is read from."""
