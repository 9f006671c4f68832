"""What training reads: photos, features and batches of them with their captions."""
