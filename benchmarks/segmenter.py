"""A segmentation network for the downstream measure: the finder's U-Net and update, trained on labels of other subjects.

Two labels can be learned:

- `lesion`: the masks that `prepare` stored for `holes.avoid`, drawn by people; at a coarser resolution each marks every pixel
  that it touches, so small lesions are up to a quarter larger;
- `dark`: pixels of the head that are darker than the lower one of two thresholds, by Otsu's method for three classes (Liao,
  Chen and Chung, 2001) over the head's pixels of the whole volume. In FLAIR these are fluid, bone and air. The rule gives
  labels in every hole, because it reads the intact scan.

Images are `[H, W]`, float32 in [-1, 1]; labels are bool `[H, W]`.
"""

from collections.abc import Callable, Iterable
from functools import partial

import jax
import numpy as np
from ml_collections import ConfigDict
from skimage.filters import threshold_multiotsu

from ipmedgan_jax.configs import small
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.data import augmentation, pipeline
from ipmedgan_jax.data.augmentation import AugmentationSettings
from ipmedgan_jax.data.batches import Find, NumpyBatch, in_groups
from ipmedgan_jax.data.dataset_file import Dataset
from ipmedgan_jax.data.holes import box
from ipmedgan_jax.data.records import SliceRecord
from ipmedgan_jax.data.slice_source import SliceSource
from ipmedgan_jax.experiment import build, phases
from ipmedgan_jax.networks.vgg19 import VGG19
from ipmedgan_jax.systems.inference import LearnedFind
from ipmedgan_jax.systems.interface import Batch
from ipmedgan_jax.systems.state import init_state
from ipmedgan_jax.systems.update import train_steps
from ipmedgan_jax.training import devices

AUGMENTATION = AugmentationSettings(scale=1.15, rotation=10.0, gamma=1.2, bias=0.2, window=0.15)
"""How training slices vary; labels move with them. `gamma` and `window` keep the network from learning one scanner's grey."""

BINS = 128
"""Bins of the histogram that the thresholds are found in."""

THRESHOLD = 0.5
"""Likelihood above which a pixel has the label."""

Labeller = Callable[[SliceRecord], np.ndarray]
"""Returns the label of each pixel of a slice."""


def make_labeller(dataset: Dataset, label: str, splits: Iterable[str]) -> Labeller:
    """Returns the labeller of the splits' slices. UserError for `lesion` if the data have no masks."""
    if label == "lesion":
        if not dataset.has_avoided:
            raise UserError(f"{dataset.directory}: has no masks of lesions; prepare it with --config.holes.avoid")
        return lambda record: np.zeros(record.codes.shape, bool) if record.avoid is None else record.avoid
    levels: dict[str, float] = {}
    for split in splits:
        levels |= dark_levels(dataset, split)
    return lambda record: _head(record) & (record.image() < levels[record.volume])


def dark_levels(dataset: Dataset, split: str) -> dict[str, float]:
    """Returns {volume: the level below which a pixel of its head is dark}, in [-1, 1]."""
    source = SliceSource(dataset.directory, split)
    values: dict[str, list[np.ndarray]] = {}
    for record in (source[i] for i in range(len(source))):
        values.setdefault(record.volume, []).append(record.image()[_head(record)])
    return {volume: float(threshold_multiotsu(np.concatenate(found), 3, BINS)[0]) for volume, found in values.items()}


def _head(record: SliceRecord) -> np.ndarray:
    if record.head is None:
        raise UserError(f"{record.volume}: has no mask of the head; prepare the data again with data.foreground=head")
    return record.head


# ------------------------------------------------------------------ training


def settings(dataset: Dataset, *, slices: int, seed: int, dtype: str = "float32") -> ConfigDict:
    """The finder's settings in configs/small.py, for images of the data's size."""
    config = small.get_config("finder").unlock()
    config.data.image_size = dataset.image_size
    config.optimiser.decay = 0.5  # a short training ends at a low rate
    config.train.images, config.train.dtype, config.seed = slices, dtype, seed
    return config.lock()


def train(dataset: Dataset, label: Labeller, config: ConfigDict) -> Find:
    """Trains a network on the training subjects' slices, in the order and number that the config says."""
    batch_size = config.train.batch_size
    devices.check_batch_size(batch_size, 1)
    steps = -(-config.train.images // batch_size)
    system = build.make_system(config, VGG19("caffe"))  # without weights: no loss of the finder looks at features
    update = phases.make_update(config, system, steps)
    step = devices.map_over_devices(partial(train_steps, update))
    initial = jax.jit(partial(init_state, update, image_size=dataset.image_size))
    state = devices.replicate(initial(jax.random.key(config.seed)))
    batches = iter(labelled_batches(dataset, label, batch_size=batch_size, seed=config.seed))
    for _ in range(steps):
        state, _ = step(state, {}, Batch(**devices.split_over_devices(next(batches))))
    if not all(bool(np.isfinite(leaf).all()) for leaf in jax.tree.leaves(state.average)):
        raise UserError("the segmentation network's weights are not finite; take another --seed")
    return LearnedFind(system).bind(state.average.params, state.average.statistics)


def labelled_batches(dataset: Dataset, label: Labeller, *, batch_size: int, seed: int) -> Iterable[NumpyBatch]:
    """Endless shuffled batches of the finder's form: the hole is the complete slice, and `hole_mask` is the label."""

    def example(record: SliceRecord, rng: np.random.Generator) -> NumpyBatch:
        image, marked, head = record.image(), label(record), record.head
        if rng.random() < 0.5:
            image, marked = image[:, ::-1].copy(), marked[:, ::-1].copy()
            head = None if head is None else head[:, ::-1].copy()
        image, _, moved = augmentation.augment(rng, image, head, marked, AUGMENTATION, grow=False)
        assert moved is not None
        return {"image": image[..., None], "hole": box(0, 0, len(image)), "hole_mask": moved.astype(np.uint8)}

    slices = pipeline.slices_in_order(dataset.directory, seed).random_map(example)
    return slices.to_iter_dataset().batch(batch_size, drop_remainder=True)


def segment(find: Find, images: np.ndarray, *, batch_size: int = 8) -> np.ndarray:
    """Returns the pixels that the network gives the label, bool `[n, H, W]`, in images `[n, H, W]`."""
    found = [
        find(np.stack(padded)[..., None])[: len(group), ..., 0] > THRESHOLD for group, padded in in_groups(images, batch_size)
    ]
    return np.concatenate(found)
