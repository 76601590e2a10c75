"""What a saved run holds: files that trainers write, and that serving and analysis read.

Knows files and how they belong together. Refuses to know how a model is trained.
"""
