"""Databases of earlier feedds, and how they were made; see README.md."""
