"""From a config to what runs: the system, its update, its data and settings. The only module that reads a ConfigDict."""

import fcntl
import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import logging
from ml_collections import ConfigDict

import ipmedgan_jax
from ipmedgan_jax.core import cache
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.data import phantom, preparation, records
from ipmedgan_jax.data.damage import KINDS as DAMAGES
from ipmedgan_jax.data.damage import OF_MODALITY, DamageSettings
from ipmedgan_jax.data.hole_shapes import KINDS, ShapeSettings
from ipmedgan_jax.data.pipeline import HoleSettings
from ipmedgan_jax.imaging import mask_files
from ipmedgan_jax.imaging.settings import PreparationSettings
from ipmedgan_jax.networks.layers import Normalise
from ipmedgan_jax.networks.vgg19 import FEATURES, VGG19
from ipmedgan_jax.pretrained import vgg19_weights
from ipmedgan_jax.pretrained.vgg19_weights import FeatureNetwork
from ipmedgan_jax.systems import context_encoder, finder, glcic, ipmedgan, ipmedgan_plus, unet
from ipmedgan_jax.systems.building_blocks import LossSettings, Parts
from ipmedgan_jax.systems.update import System, Update

SYSTEMS: dict[str, Callable[[Parts], System]] = {
    "ipmedgan": ipmedgan.make,
    "ipmedgan_plus": ipmedgan_plus.make,
    "medgan": ipmedgan.make,
    "context_encoder": context_encoder.make,
    "glcic": glcic.make,
    "glcic_cited": glcic.make_cited,
    "unet": unet.make,
}
"""Every system that learns to fill, by name."""

FINDERS: dict[str, Callable[[Parts], System]] = {"finder": finder.make}
"""Those that learn to find what is to be filled."""

FINDING_SCORES = ("dice", "sensitivity", "precision")

VALIDATION_SCORES = ("ssim", "psnr", "mse", "mae", "uqi", "uqi_sewar", "vgg_distance")

LENGTH = ("train.epochs", "train.images", "train.steps")
"""Keys of a run's length: free, unless its phases are shares of it."""

MAY_CHANGE = (
    *(*LENGTH, "train.minutes", "train.log_every", "train.validate_every"),
    *("train.validation_slices", "train.checkpoint_every", "train.keep"),
    *("data.dir", "data.workers", "data.threads", "data.prefetch", "phantom", "evaluation"),
)
"""Keys, or groups of keys, that a run may be resumed with other values of: they do not change what a step computes. The data
may lie elsewhere, but must be the same (`DATASET`)."""

ADADELTA_RHO, ADADELTA_EPSILON = 0.95, 1e-6
"""Zeiler's own (arXiv 1212.5701)."""

DATASET = "dataset"
"""Key of `config.json` beside the config's own: the fingerprint of the prepared data."""


@dataclass(frozen=True)
class TrainingSettings:
    """How long to train and how often to look; steps throughout, `minutes` of wall time (0: no limit)."""

    steps: int
    minutes: float
    batch_size: int
    steps_per_dispatch: int
    seed: int
    mirror: bool
    threads: int
    prefetch: int
    log_every: int
    validate_every: int
    validation_slices: int
    checkpoint_every: int
    keep: int
    best: str


@dataclass(frozen=True)
class EvaluationSettings:
    split: str
    batch_size: int
    checkpoint: str
    bootstrap: int
    examples: int


@dataclass(frozen=True)
class Phase:
    """A stretch of training, up to and with step `last`."""

    last: int
    update: Update

    @property
    def name(self) -> str:
        if not self.update.discriminators_learn:
            return "the generator alone"
        return "both sides" if self.update.generator_learns else "the discriminators alone"


@dataclass(frozen=True)
class Experiment:
    """All that a run needs, built from its config. Phases are in order; the last one's update has all networks learn."""

    name: str
    system: System
    phases: tuple[Phase, ...]
    features: FeatureNetwork
    dataset: records.Dataset
    holes: HoleSettings
    fill: float
    training: TrainingSettings
    evaluation: EvaluationSettings
    config: dict[str, Any]

    @property
    def finds(self) -> bool:
        """Whether the system finds damage instead of filling holes."""
        return self.holes.damage is not None

    @property
    def averaged(self) -> bool:
        """Whether what fills images at test is the moving average of the generator."""
        return self.phases[-1].update.average_decay > 0

    def describe_data(self) -> dict[str, Any]:
        """For metrics.json: what was scored."""
        split = self.evaluation.split
        return {
            "directory": str(self.dataset.directory),
            "modality": self.dataset.modality,
            "image_size": self.dataset.image_size,
            "fingerprint": self.dataset.fingerprint,
            "preparation": self.dataset.settings,
            "split": split,
            "subjects": list(self.dataset.subjects[split]),
            "vgg19": self.features.source,
        }

    def describe_holes(self) -> dict[str, Any]:
        """For metrics.json: which holes."""
        return {
            "size": self.holes.size,
            "min_foreground": self.holes.evaluation_min_foreground,
            "seed": self.holes.evaluation_seed,
        }

    def describe_damage(self) -> dict[str, Any]:
        """For metrics.json of a finder: which damage."""
        settings = asdict(self.holes.damage) if self.holes.damage else {}
        lists = {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}
        return {"seed": self.holes.evaluation_seed, **lists}


def build(config: ConfigDict) -> Experiment:
    """Reads the config, checks it, finds the data and the VGG-19 weights. UserError for what cannot be run."""
    check(config)
    dataset = find_dataset(config)
    features = feature_network(config)
    system = make_system(config, features.net)
    training = _training_settings(config, dataset.slices["train"])
    return Experiment(
        name=config.system,
        system=system,
        phases=make_phases(config, make_update(config, system), training.steps),
        features=features,
        dataset=dataset,
        holes=hole_settings(config, lesion_shapes(config, dataset)),
        fill=config.holes.fill,
        training=training,
        evaluation=evaluation_settings(config),
        config=as_json(config) | {DATASET: dataset.fingerprint},
    )


@dataclass(frozen=True)
class Inference:
    """What filling scans with a run needs of its config: no data, no weights of VGG-19."""

    name: str
    system: System
    averaged: bool
    keep: int
    best: str
    preparation: PreparationSettings
    hole_size: int
    any_shape: bool
    finds: bool


def for_inference(config: ConfigDict) -> Inference:
    """Reads and checks the config of a run whose generator is to be used. UserError for what cannot be run."""
    check(config)
    return Inference(
        name=config.system,
        system=make_system(config, VGG19("caffe")),
        averaged=config.train.ema > 0,
        keep=config.train.keep,
        best=config.train.best,
        preparation=preparation_settings(config),
        hole_size=config.holes.size,
        any_shape=hole_settings(config).shapes is not None,
        finds=config.system in FINDERS,
    )


# ------------------------------------------------------------------ networks and systems


def make_system(config: ConfigDict, vgg19: VGG19) -> System:
    """The system named by `config.system`; no weights, no data."""
    return (SYSTEMS | FINDERS)[config.system](_parts(config, vgg19))


def _parts(config: ConfigDict, vgg19: VGG19) -> Parts:
    generator, discriminator, statistics = config.generator, config.discriminator, config.normalisation
    dtype = jnp.dtype(config.train.dtype)
    return Parts(
        image_size=config.data.image_size,
        hole_size=config.holes.size,
        fill=config.holes.fill,
        blocks=generator.blocks,
        width=generator.width,
        dropout=generator.dropout,
        stacked=generator.stacked,
        remat=generator.remat,
        sees_mask=generator.sees_mask,
        smooth_start=generator.smooth_start,
        discriminator_width=discriminator.width,
        discriminator_layers=discriminator.layers,
        # parent=None: a template that every network copies, wherever it is made.
        normalise=Normalise(statistics.statistics, statistics.momentum, dtype=dtype, parent=None),
        dtype=dtype,
        loss=_loss_settings(config),
        vgg19=vgg19,
    )


def _loss_settings(config: ConfigDict) -> LossSettings:
    loss = config.loss
    # A sum over elements grows with the image; lambda_4 is the paper's at its 256 pixels.
    scale = (256 / config.data.image_size) ** 2
    scale = scale if loss.perceptual_scale_by_size and loss.perceptual_reduction == "sum" else 1.0
    return LossSettings(
        adversarial=loss.adversarial,
        local=loss.local,
        style=loss.style,
        perceptual=loss.perceptual * scale,
        perceptual_reduction=loss.perceptual_reduction,
        perceptual_layers=tuple(loss.perceptual_layers),
        style_layers=tuple(loss.style_layers),
        reconstruction=loss.reconstruction,
        content=loss.content,
        l1_region=loss.l1_region,
    )


def make_update(config: ConfigDict, system: System) -> Update:
    """The update in which both sides learn.

    With `optimiser.rate_batch` learning rates are proportional to the batch (Goyal et al., arXiv 1706.02677, section 2.1).
    """
    train, rate = config.train, config.optimiser.learning_rate
    times = train.batch_size / (config.optimiser.rate_batch or train.batch_size)
    return Update(
        system,
        _optimiser(config, times * rate),
        _optimiser(config, times * (config.optimiser.discriminator_rate or rate)),
        train.generator_updates,
        train.accumulate,
        train.ema,
    )


def make_phases(config: ConfigDict, update: Update, steps: int) -> tuple[Phase, ...]:
    """The generator alone, its discriminators alone, then both: shares of the run, whole dispatches, none of no step."""
    train, at_once = config.train, config.train.steps_per_dispatch
    alone = replace(update, system=update.system.alone(), discriminators_learn=False)
    ends = [train.generator_alone, train.generator_alone + train.discriminators_alone]
    first, second = (round(share * steps / at_once) * at_once for share in ends)
    phases = (Phase(first, alone), Phase(second, replace(update, generator_learns=False)), Phase(steps, update))
    starts = (0, first, second)
    return tuple(phase for start, phase in zip(starts, phases, strict=True) if phase.last > start)


def _optimiser(config: ConfigDict, rate: float) -> optax.GradientTransformation:
    settings = config.optimiser
    if settings.name == "adadelta":
        return optax.adadelta(rate, rho=ADADELTA_RHO, eps=ADADELTA_EPSILON)
    if settings.name == "sgd":
        return optax.sgd(rate)
    return optax.adam(rate, b1=settings.b1, b2=settings.b2, eps=settings.eps)


def feature_network(config: ConfigDict) -> FeatureNetwork:
    """VGG-19 as `vgg19.weights` names it; read, or fetched on its first use."""
    weights = vgg19_weights.resolve(config.vgg19.weights)
    net = VGG19(weights.preprocessing, dtype=jnp.dtype(config.train.dtype))
    return FeatureNetwork(net, jax.tree.map(jnp.asarray, weights.params), weights.source)


# ------------------------------------------------------------------ data


def preparation_settings(config: ConfigDict) -> PreparationSettings:
    """What `prepare` does with volumes. UserError for an image size that no network here takes."""
    data = config.data
    _check_image_size(data.image_size)
    return PreparationSettings(
        modality=config.modality,
        image_size=data.image_size,
        fit=data.fit,
        resample_mm=data.resample_mm,
        window_hu=tuple(data.window_hu),
        percentiles=tuple(data.percentiles),
        foreground_level=data.foreground_level,
        min_foreground=data.min_foreground,
        subject_regex=data.subject_regex,
        split_ratios=tuple(data.split_ratios),
        split_seed=data.split_seed,
        validation_subjects=tuple(data.validation_subjects),
        test_subjects=tuple(data.test_subjects),
        workers=data.workers,
    )


def find_dataset(config: ConfigDict) -> records.Dataset:
    """The prepared data of `data.dir`, or the built-in phantom; UserError where it does not fit the config."""
    if not config.data.dir:
        return _phantom_dataset(config)
    dataset = records.load_dataset(Path(config.data.dir).expanduser())
    for key, found in (("modality", dataset.modality), ("data.image_size", dataset.image_size)):
        wanted = config.modality if key == "modality" else config.data.image_size
        if wanted != found:
            raise UserError(f"{config.data.dir}: prepared with {key} {found!r}, the config has {wanted!r}")
    _warn_of_other_preparation(config, dataset)
    return dataset


def _warn_of_other_preparation(config: ConfigDict, dataset: records.Dataset) -> None:
    """Says which settings the data were prepared with where the config has others; what was prepared stands."""
    wanted = preparation_settings(config).recorded()
    split = ("subject_regex", "split_ratios", "split_seed", "validation_subjects", "test_subjects")
    differing = [key for key, value in dataset.settings.items() if key not in split and wanted.get(key) != value]
    for key in differing:
        logging.warning("%s: prepared with data.%s %r, which stands", dataset.directory, key, dataset.settings[key])


def _phantom_dataset(config: ConfigDict) -> records.Dataset:
    """Phantoms written as NIfTI and prepared like anyone's volumes, once for each kind of settings, in the cache."""
    settings, made = preparation_settings(config), config.phantom
    recipe = json.dumps([settings.recorded(), made.to_dict(), ipmedgan_jax.__version__], sort_keys=True)
    name = f"phantom-{config.modality}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    folder = cache.folder() / name
    logging.warning("data.dir is empty: using the built-in head phantom in %s; its scores say nothing of real scans", folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # several runs may start at once: one makes the phantoms, the others wait
            if not (folder / "prepared" / records.DATASET_FILE).exists():
                paths = phantom.write_phantoms(
                    folder / "nifti", config.modality, subjects=made.subjects, slices=made.slices, seed=made.seed
                )
                preparation.prepare(settings, paths, folder / "prepared")
    except OSError as error:
        wanted = "set XDG_CACHE_HOME to a folder that can"
        raise UserError(f"{folder}: cannot be written ({error.strerror or error}): {wanted}") from error
    return records.load_dataset(folder / "prepared")


def hole_settings(config: ConfigDict, lesions: Sequence[np.ndarray] = ()) -> HoleSettings:
    """`lesions`: real shapes, for the kind of that name."""
    holes = config.holes
    shapes = ShapeSettings(
        kinds=tuple(holes.kinds),
        shares=tuple(holes.shares) or (1.0,) * len(holes.kinds),
        size=holes.size,
        smallest=holes.smallest,
        lesions=lesions,
    )
    return HoleSettings(
        size=holes.size,
        foreground=2 * config.data.foreground_level - 1,
        min_foreground=holes.min_foreground,
        evaluation_min_foreground=holes.evaluation_min_foreground,
        evaluation_seed=holes.evaluation_seed,
        shapes=None if set(holes.kinds) == {"square"} else shapes,
        damage=damage_settings(config) if config.system in FINDERS else None,
    )


def damage_settings(config: ConfigDict) -> DamageSettings:
    damage = config.damage
    kinds = tuple(damage.kinds) or OF_MODALITY[config.modality]
    return DamageSettings(
        kinds=kinds,
        shares=tuple(damage.shares) or (1.0,) * len(kinds),
        intact=damage.intact,
        size=config.holes.size,
        smallest=config.holes.smallest,
        foreground=2 * config.data.foreground_level - 1,
    )


def lesion_shapes(config: ConfigDict, dataset: records.Dataset) -> Sequence[np.ndarray]:
    """The training subjects' real lesions, where holes have their shapes. UserError where there are none."""
    pattern, wanted = config.holes.lesions, "lesion" in config.holes.kinds
    if not wanted:
        return ()
    paths = preparation.read_paths(pattern)
    subjects = set(dataset.subjects["train"])
    mine = [path for path in paths if preparation.subject_of(path, config.data.subject_regex) in subjects]
    settings = preparation_settings(config).as_recorded(dataset.settings)
    found = [shape for path in mine for shape in mask_files.parts(path, settings, at_least=config.holes.smallest)]
    if not found:
        raise UserError(f"config.holes.lesions: {len(paths)} masks, none with a lesion of a training subject")
    return found


# ------------------------------------------------------------------ settings


def _training_settings(config: ConfigDict, slices: int) -> TrainingSettings:
    train = config.train
    at_once = train.steps_per_dispatch
    images = train.images or train.epochs * slices
    dispatches = max(1, round(images / train.batch_size / at_once))
    return TrainingSettings(
        steps=train.steps or dispatches * at_once,
        minutes=train.minutes,
        batch_size=train.batch_size,
        steps_per_dispatch=at_once,
        seed=config.seed,
        mirror=train.mirror,
        threads=config.data.threads,
        prefetch=config.data.prefetch,
        log_every=train.log_every,
        validate_every=train.validate_every,
        validation_slices=train.validation_slices,
        checkpoint_every=train.checkpoint_every,
        keep=train.keep,
        best=train.best,
    )


def evaluation_settings(config: ConfigDict) -> EvaluationSettings:
    evaluation = config.evaluation
    return EvaluationSettings(
        evaluation.split, evaluation.batch_size, evaluation.checkpoint, evaluation.bootstrap, evaluation.examples
    )


def check(config: ConfigDict) -> None:
    """Raises UserError for the first setting that cannot be run, naming the key."""
    for key, allowed in _CHOICES.items():
        if _at(config, key) not in allowed:
            raise UserError(f"config.{key} is {_at(config, key)!r}: wanted one of {', '.join(allowed)}")
    _check_image_size(config.data.image_size)
    if not 16 <= config.holes.size <= config.data.image_size:
        raise UserError(f"config.holes.size is {config.holes.size}: wanted 16 to data.image_size, {config.data.image_size}")
    holes = config.holes
    _check_shares(config, "holes", KINDS)
    _check_shares(config, "damage", DAMAGES)
    if config.train.best not in (FINDING_SCORES if config.system in FINDERS else VALIDATION_SCORES):
        raise UserError(f"config.train.best is {config.train.best!r}: is no score of {config.system}")
    if not 1 <= holes.smallest <= holes.size:
        raise UserError(f"config.holes.smallest is {holes.smallest}: wanted 1 to holes.size, {holes.size}")
    for key, (low, high) in _RANGES.items():
        if not low <= _at(config, key) <= high:
            wanted = f"at least {low:g}" if high == math.inf else f"{low:g} to {high:g}"
            raise UserError(f"config.{key} is {_at(config, key)}: wanted {wanted}")
    if config.train.generator_alone + config.train.discriminators_alone >= 1:
        raise UserError("config.train.generator_alone and discriminators_alone: wanted less than 1 in all")
    # The image and each of D's feature maps; one of each of VGG-19's.
    counts = {"perceptual_layers": config.discriminator.layers + 2, "style_layers": len(FEATURES)}
    for key, count in counts.items():
        if len(config.loss[key]) != count:
            raise UserError(f"config.loss.{key} has {len(config.loss[key])} weights: wanted {count}")
    at_once = config.train.steps_per_dispatch
    for key in ("train.steps", "train.log_every", "train.validate_every", "train.checkpoint_every"):
        if _at(config, key) % at_once:
            raise UserError(f"config.{key} is {_at(config, key)}: wanted a multiple of train.steps_per_dispatch, {at_once}")


def _check_shares(config: ConfigDict, group: str, known: Mapping[str, Any]) -> None:
    """Kinds that there are, and a share for each. No kinds of damage stand for those of the modality."""
    kinds, shares = config[group].kinds, config[group].shares
    if any(kind not in known for kind in kinds) or (group == "holes" and not kinds):
        raise UserError(f"config.{group}.kinds is {tuple(kinds)}: wanted some of {', '.join(known)}")
    count = len(kinds or OF_MODALITY[config.modality])
    if len(shares) not in (0, count) or (shares and not 0 < sum(shares) < math.inf):
        raise UserError(f"config.{group}.shares is {tuple(shares)}: wanted a share for each of {count} kinds")


_CHOICES: dict[str, tuple[str, ...]] = {
    "system": (*SYSTEMS, *FINDERS),
    "modality": ("mri", "ct"),
    "optimiser.name": ("adam", "adadelta", "sgd"),
    "normalisation.statistics": ("example", "batch"),
    "loss.perceptual_reduction": ("sum", "mean"),
    "loss.l1_region": ("hole", "image"),
    "train.dtype": ("float32", "bfloat16"),
    "train.best": (*VALIDATION_SCORES, *FINDING_SCORES),
    "evaluation.split": ("test", "validation"),
    "evaluation.checkpoint": ("best", "latest"),
}

_AT_LEAST_ONE = (
    *("generator.blocks", "generator.width", "discriminator.width", "discriminator.layers", "data.threads", "data.prefetch"),
    *("train.batch_size", "train.accumulate", "train.generator_updates", "train.steps_per_dispatch", "train.keep"),
    *("train.log_every", "train.validate_every", "train.checkpoint_every", "train.validation_slices"),
    *("evaluation.batch_size", "evaluation.bootstrap", "evaluation.examples"),
)

_RANGES: dict[str, tuple[float, float]] = dict.fromkeys(_AT_LEAST_ONE, (1.0, math.inf)) | {
    "seed": (0, 2**32 - 1),
    "holes.fill": (-1, 1),
    "holes.min_foreground": (0, 1),
    "holes.evaluation_min_foreground": (0, 1),
    "damage.intact": (0, 1),
    "generator.dropout": (0, 0.99),
    "normalisation.momentum": (0, 1),
    "loss.adversarial": (0, math.inf),
    "loss.local": (0, math.inf),
    "loss.style": (0, math.inf),
    "loss.perceptual": (0, math.inf),
    "loss.reconstruction": (0, math.inf),
    "loss.content": (0, math.inf),
    "optimiser.learning_rate": (0, math.inf),
    "optimiser.discriminator_rate": (0, math.inf),
    "optimiser.rate_batch": (0, math.inf),
    "optimiser.b1": (0, 0.999999),
    "optimiser.b2": (0, 0.999999),
    "optimiser.eps": (0, math.inf),
    "train.epochs": (0, math.inf),
    "train.images": (0, math.inf),
    "train.steps": (0, math.inf),
    "train.minutes": (0, math.inf),
    "train.ema": (0, 0.999999),
    "train.generator_alone": (0, 0.999999),
    "train.discriminators_alone": (0, 0.999999),
}
"""Lowest and highest value of the numbers that nothing else would refuse in time."""


def _at(config: ConfigDict, key: str) -> Any:
    """The value of a dotted key."""
    group, _, name = key.rpartition(".")
    return (config[group] if group else config)[name]


def _check_image_size(size: int) -> None:
    if size < 32 or size & (size - 1):
        raise UserError(f"config.data.image_size is {size}: wanted a power of two of at least 32")


# ------------------------------------------------------------------ the config as a file


def as_json(config: ConfigDict) -> dict[str, Any]:
    """Plain nested dicts and lists, as `config.json` holds them."""
    return json.loads(json.dumps(config.to_dict()))


YOUNGER = {
    "loss.content": 0.0,
    "generator.smooth_start": False,
    "holes.kinds": ["square"],
    "holes.shares": [],
    "holes.smallest": 8,
    "holes.lesions": "",
    "evaluation.split": "test",
    "damage.kinds": [],
    "damage.shares": [],
    "damage.intact": 0.3,
    "optimiser.rate_batch": 0,
    "train.mirror": False,
}
"""Keys that were added after the first runs, and what a run without them did."""


def with_younger_keys(saved: dict[str, Any]) -> dict[str, Any]:
    """A `config.json` of any age, with the keys that it is too old for."""
    completed = {key: dict(value) if isinstance(value, dict) else value for key, value in saved.items()}
    for key, value in YOUNGER.items():
        group, _, name = key.partition(".")
        completed.setdefault(group, {}).setdefault(name, value)
    return completed


OWN_TO_A_PROCESS = ("data.dir", "data.workers", "data.threads", "data.prefetch")
"""Keys that may differ between the processes of one run."""


def settings_of_all(config: ConfigDict) -> dict[str, Any]:
    """Flat: what all processes of a run must agree on."""
    return {key: value for key, value in flat(as_json(config)).items() if key not in OWN_TO_A_PROCESS}


def from_json(saved: dict[str, Any]) -> ConfigDict:
    """The config of a `config.json`; lists become the tuples they were."""
    return ConfigDict(_with_tuples({key: value for key, value in saved.items() if key != DATASET})).lock()


def _with_tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_tuples(each) for key, each in value.items()}
    return tuple(value) if isinstance(value, list) else value


def flat(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"train": {"steps": 3}}` as `{"train.steps": 3}`."""
    items: dict[str, Any] = {}
    for key, value in nested.items():
        items |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return items


def differing_keys(saved: dict[str, Any], current: dict[str, Any]) -> list[str]:
    """Keys with other values, among those a run may not be resumed with other values of."""
    a, b = flat(saved), flat(current)
    in_phases = any(a.get(key) for key in ("train.generator_alone", "train.discriminators_alone"))
    free = tuple(f"{key}." for key in MAY_CHANGE if not (in_phases and key in LENGTH))
    return sorted(key for key in a.keys() | b.keys() if a.get(key) != b.get(key) and not f"{key}.".startswith(free))
