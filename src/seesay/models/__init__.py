"""The models: encoder, attention, decoders, and the captioner that joins them. Needs torch."""
