"""The shipped configs: `base` has all settings, and each other config changes some of their values."""
