"""Torch model -> bundle: graphs, weights, the graphs in 8 bits; and back (torch, onnx)."""
