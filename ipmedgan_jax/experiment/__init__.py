"""From a config to what runs, and a run on disk. The only readers of a ConfigDict."""
