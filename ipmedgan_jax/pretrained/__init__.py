"""Published VGG-19 weights: fetching, verifying and converting them."""
