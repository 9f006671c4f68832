"""A recipe -> a bundle: features, batches, objective, loop (torch)."""
