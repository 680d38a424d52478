"""labctl: a laboratory for network failures."""

__version__ = "0.1.0"
