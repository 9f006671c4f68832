"""Tests of attention that need the torch model."""
