"""What an encoder is worth on labeled images: 20-NN, and a linear layer on its features."""

import tempfile

from byol.data.sources.open import open_source
from byol.encoders.load import open_encoder
from byol.evals import knn, linear
from byol.evals.cache import FeatureConfig
from byol.evals.evaluation import Task
from byol.evals.knn import K, KnnConfig
from byol.evals.linear import LinearConfig
from byol.runtime import device as machine

KNN, LINEAR = "20-NN accuracy on the test part", "linear accuracy on the test part, stored features"


def accuracies(encoder: str, train: str, test: str) -> dict[str, float]:
    """Both accuracies of an encoder, as `byol eval knn` and `byol eval linear --cached` measure them.

    Args:
        encoder: as `open_encoder` takes it.
        train: labeled images.
        test: labeled images that nothing is chosen on.
    """
    device, _ = machine.choose_device("auto")
    task = Task(open_encoder(encoder), open_source(train, 3), open_source(test, 3), device)
    with tempfile.TemporaryDirectory() as folder:  # one pass over the images serves both
        features = FeatureConfig(folder=folder)
        neighbors = knn.evaluate(task, KnnConfig(k=(K,), features=features))
        layer = linear.evaluate(task, LinearConfig(cached=True, features=features))
    (nearest,) = (value for key, value in neighbors.items() if key.startswith("top1"))
    return {KNN: nearest, LINEAR: layer["top1"]}
