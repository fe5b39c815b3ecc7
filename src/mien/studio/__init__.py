"""The studio: a page on this machine that edits photographs while one looks. Nothing of it calls out."""

import os

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_OFFLINE"] = "1"
