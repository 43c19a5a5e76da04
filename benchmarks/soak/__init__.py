"""Injects faults into runs, prepared data, models and input files, and counts those that pass silently."""
