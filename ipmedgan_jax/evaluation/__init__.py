"""Scores of fills and of found damage, with reports, comparisons of runs, and figures."""
