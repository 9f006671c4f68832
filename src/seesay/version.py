"""The version of seesay."""

__version__ = "0.1.0"
