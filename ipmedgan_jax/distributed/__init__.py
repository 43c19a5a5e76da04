"""What several processes of a run need in addition to `jax.distributed`."""
