"""Photographs: read and written in kind, faces found, aligned, blended back and marked as edited."""
