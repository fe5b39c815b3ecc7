"""The lab: train, compare and export the models that the user wing runs. Needs ``pip install "mien[lab]"``."""
