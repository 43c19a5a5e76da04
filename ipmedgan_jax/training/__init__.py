"""The training loop, its validation, its logs, and the mapping over devices."""
