"""The commands: each reads its flags and calls one function of the rooms below.

Knows flags. Refuses to do any work of its own.
"""
