"""Train, save, restore and infer, in sessions."""
