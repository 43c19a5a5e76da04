"""Systems, one file each: the networks, what the discriminators see, and the generator's loss. And what they share."""
