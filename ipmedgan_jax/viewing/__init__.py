"""The page on which a hole is painted and filled: a local server and what it serves."""
