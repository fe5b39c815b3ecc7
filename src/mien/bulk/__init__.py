"""Millions of photographs: edited or measured by many processes, on this machine or on a Ray cluster."""
