"""Importing TensorFlow without its greetings."""

from __future__ import annotations

import importlib
import os
import sys
import tempfile


def import_tensorflow(debug: bool = False, threads: int | None = None) -> None:
    """Imports TensorFlow and, unless debugging, hides what it writes while loading.

    Its libraries write to file descriptor 2 before any log level can be set. If the
    import fails, that text is shown after all. An operation gets so many `threads`, by
    default as many as TensorFlow likes.
    """
    if threads is not None and "tensorflow" not in sys.modules:
        os.environ["TF_NUM_INTRAOP_THREADS"] = str(threads)
    if debug or "tensorflow" in sys.modules:
        importlib.import_module("tensorflow")
        return
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as aside:
        os.dup2(aside.fileno(), 2)
        try:
            importlib.import_module("tensorflow")
        except Exception:  # not of Ctrl-C, which is told in one line
            aside.seek(0)
            os.write(kept, aside.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
