"""The models of this package, side by side, and the bases that they share.

A model imports the rooms below it and never another model. Refuses to know how runs are compared and served.
"""
