"""icn-lite: the InterCooperative Network's node for small devices."""

__version__ = "0.1.0"
