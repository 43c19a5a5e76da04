"""What every other package stands on: errors, files, the cache folder, how a command starts and ends."""
