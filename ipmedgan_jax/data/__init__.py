"""From NIfTI volumes to batches on the device: volumes, records, pipeline, phantom."""
