"""Data sets in other forms: in and out."""
