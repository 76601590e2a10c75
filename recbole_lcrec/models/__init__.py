"""The models of this package and their base classes. No model imports another one."""
