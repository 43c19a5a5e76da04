#!/usr/bin/env bash
# Ablations in one command: trains a system with one part or setting changed at a time, and compares the runs on the
# validation subjects, because settings must not be chosen by the test subjects. The latest checkpoint is scored: the best was
# chosen on the same subjects, out of more validations the smaller the batch.
#
#   bash launch/ablations.sh --config=configs/small.py --data=data/mri --images=1600 --output=results/mri_ablations
#
# --system=ipmedgan (the default), ipmedgan_plus or casnet_plus
# --only=".."      some of the changes, by name; by default all
# The other arguments are those of table1.sh, --seeds among them, without --systems and --fills. If interrupted, run the same
# command again to continue.
source "$(dirname "$0")/runs.sh"
begin "$@" --config.evaluation.split=validation --config.evaluation.checkpoint=latest

system=ipmedgan only=
for argument in ${own[@]+"${own[@]}"}; do
  case $argument in
    --system=ipmedgan | --system=ipmedgan_plus | --system=casnet_plus) system=${argument#*=} ;;
    --seeds=*) seeds=${argument#*=} ;;
    --only=*) only=${argument#*=} ;;
    *) usage "$argument: not an option of this script" ;;
  esac
done
check_seeds "$seeds"

variant() {  # NAME [--config.KEY=VALUE ...]
  if [[ -z $only || " $only " == *" $1 "* ]]; then train "$1" "$system" "${@:2}"; fi
}

variants() {
  case $system in
    ipmedgan)
      variant as_published
      variant no_local_discriminator --config.loss.local=0.0
      variant no_style --config.loss.style=0.0
      variant perceptual_sum_unscaled --config.loss.perceptual_scale_by_size=False
      variant batch_statistics --config.normalisation.statistics=batch  # running averages at test
      variant batch_1 --config.train.batch_size=1  # as the paper has it
      variant three_generator_updates --config.train.generator_updates=3
      variant half_rate --config.optimiser.learning_rate=1e-4
      variant slow_discriminators --config.optimiser.discriminator_rate=5e-5
      variant weak_local --config.loss.local=0.02
      variant strong_perceptual --config.loss.perceptual=4e-4
      variant no_style_weak_local_strong_perceptual --config.loss.style=0.0 --config.loss.local=0.02 --config.loss.perceptual=4e-4
      variant with_l1 --config.loss.reconstruction=10.0
      variant with_l1_start --config.loss.reconstruction=10.0 --config.train.generator_alone=0.4
      variant tuned --config.loss.reconstruction=10.0 --config.train.generator_alone=0.4 \
        --config.optimiser.discriminator_rate=5e-5 --config.loss.perceptual=4e-4  # configs/small_tuned.py
      ;;
    ipmedgan_plus)
      variant as_it_is
      variant no_noise --config.generator.noise=False
      variant no_other_half --config.generator.opposite=False
      variant no_l1_start --config.train.generator_alone=0.0
      variant no_discriminator --config.loss.adversarial=0.0
      variant no_vgg_distance --config.loss.content=0.0
      variant l1_alone --config.loss.adversarial=0.0 --config.loss.content=0.0
      variant with_ssim --config.loss.structure=1.0
      variant constant_rate --config.optimiser.warmup_steps=0 --config.optimiser.decay=0.0
      ;;
    casnet_plus)
      variant as_it_is
      variant no_smooth_start --config.generator.smooth_start=False
      variant no_mask_input --config.generator.sees_mask=False
      variant no_l1_start --config.train.generator_alone=0.0
      variant no_discriminators --config.loss.adversarial=0.0 --config.loss.local=0.0
      variant no_local_discriminator --config.loss.local=0.0
      variant no_feature_matching --config.loss.perceptual=0.0
      variant no_vgg_distance --config.loss.content=0.0
      variant no_style --config.loss.style=0.0
      ;;
  esac
}

known=$(variant() { printf ' %s' "$1"; }; variants)
for name in $only; do
  if [[ "$known " != *" $name "* ]]; then usage "--only=$name: not a change of $system; there are$known"; fi
done
trains "$system"
for_each_seed variants
compare_runs --reference="${trained[0]}" "${trained[@]}"
