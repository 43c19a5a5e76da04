"""Scores a fill with PyPI `inpainting` (the BraTS challenge's metrics); runs in a separate interpreter that has it.

`python benchmarks/referee_process.py IN.npz` prints {"ssim", "mse", "psnr"} as JSON. IN.npz holds `image` and `inpainted`,
float32 [S, H, W], not negative, and `mask`, bool, true where pixels were removed. No module of this package imports this
file, because `inpainting` is AGPL-3.0.
"""

import json
import sys

import numpy as np
import torch
from inpainting.challenge_metrics_2023 import generate_metrics


def main(path: str) -> None:
    """Prints the scores inside the mask of the fill in `path`; PSNR is for the fixed range 0..1."""
    with np.load(path) as arrays:
        image, inpainted, mask = (torch.from_numpy(arrays[name])[None] for name in ("image", "inpainted", "mask"))
    found = generate_metrics(prediction=inpainted, target=image, normalization_tensor=image * ~mask, mask=mask)
    print(json.dumps({"ssim": found["ssim"], "mse": found["mse"], "psnr": found["psnr_01"]}))


if __name__ == "__main__":
    main(sys.argv[1])
