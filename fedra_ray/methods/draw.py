"""What is drawn at the start of a round: who takes part, and who trains which layers."""

from fedra_ray.federation.allocation import DrawnRound, Matrix
from fedra_ray.federation.fleet import Fleet
from fedra_ray.federation.seeding import Purpose, generator
from fedra_ray.federation.state import ServerState
from fedra_ray.methods.method import Method


def draw_round(method: Method, fleet: Fleet, seed: int, number: int, state: ServerState | None = None) -> DrawnRound:
    """Draw the cohort and the allocation matrix of a round.

    Args:
        method: The federated method.
        fleet: The clients.
        seed: Seed of the experiment.
        number: Number of the round, from 1.
        state: State of the server before the round; None to plan a round that no run has reached.
    """
    cohort = fleet.cohort(number, method.eligible)
    depths = fleet.depths(number)[cohort].tolist()
    return DrawnRound(number, cohort, depths, allocate(method, depths, seed, number, state))


def allocate(method: Method, depths: list[int], seed: int, number: int, state: ServerState | None = None) -> Matrix:
    """The allocation matrix of a round for clients of these depths."""
    return method.allocate(depths, generator(seed, Purpose.ALLOCATION, number), state)
