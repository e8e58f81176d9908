"""Which steps a program takes, and what a step does to the running statistics."""
