"""The model bundle: written from torch, opened without it."""
