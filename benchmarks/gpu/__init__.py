"""All measurements of one short visit to a machine with a GPU: `bash launch/gpu.sh`."""
