"""Programs as TF1 users write them."""
