"""The shipped configs: `base` has every setting, each other file changes values there."""
