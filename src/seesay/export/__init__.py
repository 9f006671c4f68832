"""Torch model -> bundle (weights, ONNX graphs, quantised graphs), and back; needs torch, onnx."""
