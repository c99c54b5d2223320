"""Machine learning of the workbench: pure functions over arrays, tensors and paths.

Nothing here imports `workbench`, Flask or SQLAlchemy, and importing `ml` imports no torch: each module names what
it needs.
"""
