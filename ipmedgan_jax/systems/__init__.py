"""One file per published system: its networks, what its discriminators see, its losses."""
