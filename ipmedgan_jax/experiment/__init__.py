"""Experiments built from configs, and runs on disk. Only this package and the commands read a ConfigDict."""
