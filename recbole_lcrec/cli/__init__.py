"""Command-line entry points: each parses its flags and calls functions of the other rooms."""
