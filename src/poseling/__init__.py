"""Poseling distils large human-pose networks into small ones, and runs them."""

__version__ = "0.1.0"
