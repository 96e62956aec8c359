"""How a command ends: its exit code, and what went wrong in one line."""

import argparse
import os
import sys
from collections.abc import Callable

from fedra_ray.config.errors import RunFailedError, SettingError, one_line
from fedra_ray.runtime.interruption import Terminated, deserted


def exit_code(carry_out: Callable[[], object]) -> int:
    """Carry something out, and return the exit code of a command that did it; an error is printed in one line.

    With HYDRA_FULL_ERROR=1 in the environment the error is raised instead.

    Returns:
        0: done. 1: a run failed, or the system refused, for want of space or permission. 2: a setting or an option
        that cannot work. 130: interrupted by SIGINT. 143: ended by SIGTERM. What `carry_out` itself gave to `sys.exit`.
    """
    try:
        carry_out()
    except (SettingError, argparse.ArgumentError) as error:
        return _fail(error, 2)
    except (RunFailedError, OSError) as error:  # a disk that is full, a folder that may not be written
        return _fail(error, 1)
    except KeyboardInterrupt as interruption:
        return 143 if isinstance(interruption, Terminated) else 130
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    return 0


def leave(code: int) -> int:
    """Return the exit code, or end this process with it where Ray's goodbye would wait for a cluster that is gone."""
    if deserted.is_set():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def _fail(error: Exception, code: int) -> int:
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        raise error
    print(f"error: {one_line(str(error))}", file=sys.stderr)
    return code
