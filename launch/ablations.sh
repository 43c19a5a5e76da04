#!/usr/bin/env bash
# What ip-MedGAN's parts and open settings are worth, in one command: trains it with one thing changed at a time, and compares.
#
#   bash launch/ablations.sh --config=configs/small.py --data=data/mri --images=1600 --output=results/mri_ablations
#
# Arguments as table1.sh has them, without --systems and --fills. Stopped, the same command goes on where it was.
source "$(dirname "$0")/runs.sh"
begin "$@"
if ((${#own[@]})); then usage "${own[0]} is no option of this script"; fi

train_and_score as_published ipmedgan
train_and_score no_local_discriminator ipmedgan --config.loss.local=0.0
train_and_score no_style ipmedgan --config.loss.style=0.0
train_and_score perceptual_sum_unscaled ipmedgan --config.loss.perceptual_scale_by_size=False
train_and_score perceptual_mean ipmedgan --config.loss.perceptual_reduction=mean
train_and_score batch_statistics ipmedgan --config.normalisation.statistics=batch  # running averages at test
train_and_score with_l1 ipmedgan --config.loss.reconstruction=10.0
train_and_score with_l1_start ipmedgan --config.loss.reconstruction=10.0 --config.train.generator_alone=0.4
compare_runs as_published no_local_discriminator no_style perceptual_sum_unscaled perceptual_mean batch_statistics with_l1 \
  with_l1_start
