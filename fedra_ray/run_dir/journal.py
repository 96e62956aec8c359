"""What an experiment leaves behind as it goes: records, and the restart points that belong to them."""

import threading

from fedra_ray.run_dir import checkpoint
from fedra_ray.run_dir.checkpoint import Checkpoint
from fedra_ray.run_dir.folder import Folder
from fedra_ray.run_dir.records import Records


class Journal:
    """Records and the state of the last finished round, saved together.

    `save` may be called by another thread at any time: it saves that state, and what records hold of the round after
    it is left out when the run is taken up again.

    Args:
        folder: The run directory.
        keep: How many restart points to keep.
    """

    def __init__(self, folder: Folder, keep: int) -> None:
        self.folder = folder
        self.records = Records(folder)
        self.state: Checkpoint | None = None
        self._keep = keep
        self._lock = threading.Lock()

    def restore(self) -> Checkpoint | None:
        """The newest state that can be read, or None; records go back to it."""
        self.state = checkpoint.newest(self.folder)
        if self.state is not None:
            self.records.restore(self.state.round)
        return self.state

    def save(self) -> int:
        """Save the last finished round; returns its number, 0 if there is none."""
        with self._lock:
            state = self.state
            if state is None:
                return 0
            self.records.save()  # first: a restart point without its records would lose them
            checkpoint.save(self.folder, state, self._keep)
            return state.round
