"""VGG-19's published weights: fetched, verified, converted."""
