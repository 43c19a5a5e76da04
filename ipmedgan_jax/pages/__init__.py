"""HTML pages of one file: reports of fills, of runs and of comparisons."""
