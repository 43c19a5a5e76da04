"""ip-MedGAN at CPU size, not as published: small.py with the weights and rates that did best on validation subjects.

Of the changes that launch/ablations.sh tries, it has together: L1 in the hole, alone for the first 40 % of the run,
discriminators at a quarter of the generator's rate, and the perceptual term at four times its weight. docs/results.md
(What holds ip-MedGAN back) says what they bring, and over how many seeds and slices. Other systems are those of small.py.
"""

from ml_collections import ConfigDict

from ipmedgan_jax.configs import small


def get_config(system: str = "") -> ConfigDict:
    config = small.get_config(system).unlock()
    if config.system == "ipmedgan":
        config.loss.reconstruction = 10.0
        config.loss.perceptual = 4e-4
        config.optimiser.discriminator_rate = 5e-5
        config.train.generator_alone = 0.4
    return config.lock()
