"""Files that travel with the package: `asset://NAME` in a setting names one of them."""

from pathlib import Path

_PACKAGE = Path(__file__).parent
_ASSET = "asset://"


def resolve(path: str) -> Path:
    """The file that a path setting means."""
    if path.startswith(_ASSET):
        return _PACKAGE / "assets" / path.removeprefix(_ASSET)
    return Path(path).expanduser()


def conf_dir() -> Path:
    """The folder of YAML configurations: inside an installed package, or beside it in a checkout."""
    installed = _PACKAGE / "conf"
    return installed if installed.is_dir() else _PACKAGE.parent / "conf"
