"""Encoder, attention, decoder and the captioner made of them (torch)."""
