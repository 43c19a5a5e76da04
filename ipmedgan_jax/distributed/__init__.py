"""What several processes of one run need beyond `jax.distributed`."""
