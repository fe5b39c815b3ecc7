"""People as judges: a blind page of a comparison's pictures, and the count of its answers."""
