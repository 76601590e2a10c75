"""Tables of the user's own: read, checked, explained."""
