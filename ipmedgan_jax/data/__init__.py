"""From volumes to training batches: preparation, records, holes, damage, the input pipeline and the phantom."""
