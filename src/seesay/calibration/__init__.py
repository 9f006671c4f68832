"""Learning how far a model's captions can be trusted (`seesay calibrate`), with NumPy alone."""

from seesay.calibration.calibrate import calibrate

__all__ = ["calibrate"]
