"""Files on disk -> records -> images, tokens and cached features. Knows no torch."""
