"""A bundle: the folder that holds a trained model, written and read as a whole (no torch)."""
