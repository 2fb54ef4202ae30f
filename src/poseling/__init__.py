"""Poseling turns a big human-pose network into a small one that keeps its skill."""

__version__ = "0.1.0"
