"""Compares evaluated runs: the paper's Table I and Figure 2 on your own data, with intervals and paired tests.

  python -m ipmedgan_jax.compare runs/mri runs/glcic runs/telea --output=results/mri
  python -m ipmedgan_jax.compare runs/mri-seed{0,1,2} runs/glcic-seed{0,1,2} runs/telea --output=results/mri

Runs of one system whose configs differ in the seed alone are one row, whose intervals and p include the spread of seeds.

Writes to OUTPUT:
  table.md      scores over the hole, paired differences, spreads of subjects and seeds, scores by foreground and over the
                whole image, and the paper's printed numbers
  table.csv
  table.tex     the tables for LaTeX, to be input in an article; no package is needed
  figure.png    context, each system's fill, image
  figure.pdf    the same for print, with the hole enlarged below each image
  subjects.png, subjects.pdf
                each subject's scores
  report.html   a page of all of it, for any browser: tables that sort, plots by subject, and each subject's slices under
                every system; its pictures are in report/
  provenance.json  version, machine and command, of this comparison and of each run

Runs of one system on the folds of a cross-validation (data.fold) are pooled to one row: each subject is scored by the
training that did not see it.

All runs must be scored on the same holes of the same data. A run that is not, or whose files are missing or inconsistent, is
named and left out. The command then compares the other runs and ends with exit code 2.
"""

from absl import flags, logging

from ipmedgan_jax.core.command import run_command
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.lines import print_line
from ipmedgan_jax.core.user_paths import user_path


def main(arguments: list[str]) -> None:
    from ipmedgan_jax.evaluation import (
        comparable_runs,
        comparison,
        comparison_notes,
        comparison_tables,
        fold_pools,
        seed_groups,
    )

    output = user_path(flags.FLAGS.output)
    runs, left_out = comparable_runs.read_all([user_path(argument) for argument in arguments])
    for reason in left_out:
        logging.warning("left out: %s", reason)
    if not runs:
        raise UserError("no run left to compare: evaluate the runs first with python -m ipmedgan_jax.evaluate")
    if missing := fold_pools.missing_folds(runs[0]):
        logging.warning("%s of %d missing: no score of the subjects tested there", missing, runs[0].folds[0].count)
    groups = seed_groups.group_seeds(runs)
    names = list(filter(None, flags.FLAGS.reference or [])) or [None]
    reference, *further = dict.fromkeys(seed_groups.find_reference(groups, name) for name in names)
    try:
        comparison.write(
            groups, output, reference=reference, further=further, cases=flags.FLAGS.cases, caption=flags.FLAGS.caption
        )
    except OSError as error:
        raise UserError(f"{output}: cannot be written ({error.strerror or error})") from error
    print(comparison_tables.hole_table(groups).markdown())
    if notes := f"{comparison_notes.apart(groups)}{comparison_notes.weak_points(groups, kid=True)}".strip():
        print_line(notes)
    print_line(f"written to {output}")
    if left_out:
        kept = sum(len(group.evaluated) for group in groups)
        raise UserError(f"{len(arguments) - kept} of {len(arguments)} runs left out; see the warnings above")


def define_flags() -> None:
    flags.DEFINE_string("output", None, "folder for the tables and figures")
    flags.DEFINE_list(
        "reference",
        None,
        "system that paired differences are taken from, or the name of one of its folders; several, by commas, have a table "
        "each; by default ipmedgan, or the first where there is none",
    )
    flags.DEFINE_integer("cases", 4, "number of rows of figure.png", lower_bound=1)
    flags.DEFINE_string("caption", "", "sentence for the tables, for example on the data and length of training")


if __name__ == "__main__":
    run_command(main, define_flags, required=["output"], arguments="the folders of runs are")
