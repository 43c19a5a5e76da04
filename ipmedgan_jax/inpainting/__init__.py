"""Filling scans with a trained generator."""
