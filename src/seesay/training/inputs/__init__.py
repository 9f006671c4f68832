"""The input of training: photos, cached features, and batches of both with captions."""
