"""The networks of all systems, as Flax linen modules, and the convolutions that they are made of."""
