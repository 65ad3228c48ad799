"""The features of a folder of images as a table: a row per image, its name and then its features.

python examples/embeddings_to_table.py runs/photos photos/ features.csv
"""

import csv
import sys
from pathlib import Path

import torch

import byol
from byol.encoders.load import open_encoder
from byol.evals.features import Passes, extract


def write_table(encoder_name: str, folder: str, file: Path) -> int:
    """Write the table; returns its rows. Images that cannot be read are left out."""
    encoder, images = open_encoder(encoder_name), byol.open_source(folder)
    features = extract(encoder.module, images, encoder.transform, Passes(torch.device("cpu")))
    with file.open("w", newline="", encoding="utf-8") as opened:
        table = csv.writer(opened)
        table.writerow(["image", *(f"feature_{number}" for number in range(features.values.shape[1]))])
        for number, row in zip(features.indices.tolist(), features.values.tolist(), strict=True):
            table.writerow([images.where(number), *row])
    return len(features.indices)


if __name__ == "__main__":
    encoder_name, folder, file = sys.argv[1:]
    print(f"{file}: {write_table(encoder_name, folder, Path(file))} rows")
