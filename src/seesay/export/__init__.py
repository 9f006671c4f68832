"""Torch model -> bundle (weights, ONNX graphs, quantised graphs), and back. Needs torch and onnx."""
