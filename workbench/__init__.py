"""A human-in-the-loop labelling and curation workbench for image classification."""

__version__ = "0.1.0"
