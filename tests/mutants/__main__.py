"""Prints the mutation tables: `python -m tests.mutants`."""

from __future__ import annotations

import os

from kpg.cli.quiet_tensorflow import import_tensorflow


def main() -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import_tensorflow()
    from tests.mutants.iterations import ITERATIONS
    from tests.mutants.subject import table
    from tests.mutants.subjects import SUBJECTS

    for subject in (*SUBJECTS, ITERATIONS):
        print(table(subject), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
