"""Environment variables that Ray reads once, when it is imported; nothing here imports it."""

import os
import sys

_EVERYWHERE = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}
#: A private instance listens on the loopback address alone, and asks everyone who connects for the user's token.
_LOCAL = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # false makes Ray bind to the loopback address, on any system
    "RAY_AUTH_MODE": "token",
}


def resolve(address: str | None) -> tuple[str, str]:
    """The address that a setting and RAY_ADDRESS lead to, `local`, `auto` or a cluster's, and which of them named it.

    As in Ray, the variable stands in for an address that is not given or is `auto`; an empty one counts as not set.
    """
    variable = os.environ.get("RAY_ADDRESS")
    if variable and address in (None, "auto"):
        return variable, "RAY_ADDRESS"
    return address or "local", "runtime.address"


def declare(address: str | None) -> str:
    """Set the environment variables that Ray needs before it is imported; what the user has set is kept.

    Args:
        address: Address of a cluster, `local` for a private instance, or None: the cluster whose job this process
            belongs to, if there is one, else `local`.

    Returns:
        The resolved address: `local`, `auto`, or that of a cluster.
    """
    if not sys.stdout.isatty():
        os.environ.setdefault("RAY_COLOR_PREFIX", "0")  # no control characters in logs
    resolved = resolve(address)[0]
    for name, value in (_EVERYWHERE | _LOCAL if resolved == "local" else _EVERYWHERE).items():
        os.environ.setdefault(name, value)
    return resolved
