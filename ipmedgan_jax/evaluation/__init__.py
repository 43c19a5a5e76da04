"""Scores of fills and of found damage, reports, comparisons and figures."""
