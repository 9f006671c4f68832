"""Captioning on a cluster, by Ray Data."""
