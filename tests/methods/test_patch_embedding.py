from fedra_ray.methods.fedra import FedRA
from fedra_ray.methods.method import Problem
from fedra_ray.methods.patch_embedding import PatchEmbedding


def test_the_patch_embedding_is_trained_and_sent_every_round() -> None:
    method = PatchEmbedding(FedRA(Problem(4, (2,))))
    assert method.named((0,)) == ("head", "patch_embedding")
    assert method.unsent([1, 2]) == method.unsent([0, 1]) == ()


def test_as_in_the_authors_fedra_it_is_sent_only_in_rounds_of_client_0() -> None:
    method = PatchEmbedding(FedRA(Problem(4, (2,))), needs_client_0=True)
    assert method.unsent([1, 2]) == ("patch_embedding",)
    assert method.unsent([0, 1]) == ()
