"""Timings: ratios measured side by side in one run. Never part of a test."""
