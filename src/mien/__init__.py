"""mien: change the expression on any face in a photograph; train, compare and trust the models that do it."""

__version__ = "0.1.0"
