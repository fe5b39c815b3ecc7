"""Clips: read and written in kind, faces followed from frame to frame, edited in place; needs PyAV (extra `video`)."""
