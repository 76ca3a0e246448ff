"""feedd publishes: article files in, valid feeds out."""

__version__ = "0.1.0"
