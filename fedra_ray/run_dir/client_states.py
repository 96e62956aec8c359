"""What virtual clients keep between their rounds, on disk: of any number of clients only a round's are in memory."""

from collections.abc import Mapping, Sequence

from safetensors.numpy import load, save

from fedra_ray.config.errors import RunFailedError
from fedra_ray.federation.state import Arrays
from fedra_ray.run_dir.folder import Folder

FOLDER = "client_states"
_SUFFIX = ".safetensors"


class ClientStates:
    """One file per client and round, of clients that were ever sampled alone: client_states/CLIENT/ROUND.safetensors.

    A client's older files go once no restart point may need them, so that taking a run up again finds what every client
    had kept at that time.

    Args:
        folder: The run directory.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder.below(FOLDER)
        self._held: dict[int, Arrays] = {}

    @property
    def any_held(self) -> bool:
        """Whether there is something to write."""
        return bool(self._held)

    def restore(self, last_round: int) -> None:
        """Go back to a round: what clients kept in later ones is deleted."""
        self._held = {}
        for client in self._folder.names():
            folder = self._folder.below(client)
            for number in _rounds(folder):
                if number > last_round:
                    folder.delete(_name(number))

    def read(self, clients: Sequence[int], last_round: int | None = None) -> Mapping[int, Arrays]:
        """The newest state of each of these clients that has one, or the newest up to a round.

        Raises:
            RunFailedError: if a file is damaged.
        """
        states = {client: self._held.get(client) or self._newest(client, last_round) for client in clients}
        return {client: state for client, state in states.items() if state}

    def hold(self, states: Mapping[int, Arrays]) -> None:
        """Take in what clients of a finished round keep; `write` puts it on disk."""
        self._held = dict(states)

    def write(self, number: int, oldest: int) -> None:
        """Write what is held as of a round, and delete what no restart point from `oldest` on may need.

        Raises:
            RunFailedError: if it cannot be written.
        """
        for client, state in self._held.items():
            folder = self._folder.below(str(client))
            folder.write(_name(number), save(dict(state)))
            rounds = _rounds(folder)
            needed = max((round_number for round_number in rounds if round_number <= oldest), default=0)
            for round_number in rounds:
                if round_number < needed:
                    folder.delete(_name(round_number))
        self._held = {}

    def _newest(self, client: int, last_round: int | None) -> Arrays:
        folder = self._folder.below(str(client))
        rounds = [number for number in _rounds(folder) if last_round is None or number <= last_round]
        number = max(rounds, default=0)
        content = folder.read(_name(number))
        if content is None:
            return {}
        try:
            arrays: Arrays = load(content)
        except Exception as error:  # safetensors raises its own kinds
            raise RunFailedError(f"{folder}/{_name(number)} is damaged: {error}") from error
        return arrays


def _name(number: int) -> str:
    return f"{number:06d}{_SUFFIX}"


def _rounds(folder: Folder) -> list[int]:
    """The rounds of a client that there are files of."""
    stems = [name.removesuffix(_SUFFIX) for name in folder.names() if name.endswith(_SUFFIX)]
    return [int(stem) for stem in stems if stem.isdecimal()]
