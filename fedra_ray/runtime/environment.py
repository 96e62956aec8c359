"""Environment variables that Ray reads once, when it is imported; nothing here imports it."""

import os
import sys

_EVERYWHERE = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}
#: A private instance listens on the loopback address alone, and asks everybody for the user's token there.
_LOCAL = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # where false, on any system, Ray takes the loopback address for its own
    "RAY_AUTH_MODE": "token",
}


def declare(address: str | None) -> str:
    """Set what Ray has to know before it is imported; what the user has set stays.

    Args:
        address: Address of a cluster, local for a private instance, or null: the cluster of a job that this is part
            of, or local.

    Returns:
        The address that this means: local, auto, or that of a cluster.
    """
    if not sys.stdout.isatty():
        os.environ.setdefault("RAY_COLOR_PREFIX", "0")  # no control characters in logs
    meant = address or ("auto" if "RAY_ADDRESS" in os.environ else "local")
    for name, value in (_EVERYWHERE | _LOCAL if meant == "local" else _EVERYWHERE).items():
        os.environ.setdefault(name, value)
    return meant
