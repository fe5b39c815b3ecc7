"""Readers: small networks that mien trains and ships. A reader is a method with one turn and nothing to edit."""
