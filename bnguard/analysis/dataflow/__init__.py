"""What one step evaluates: reachability, constant propagation, deadness, provenance."""
