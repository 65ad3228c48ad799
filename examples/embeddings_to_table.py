"""Embeddings of images as a Parquet table: a row per image, with its path, its label and its features.

DuckDB, pandas, Polars and Spark read such a table; so does `nearest` below, which finds images that look alike. Without
`--encoder` the script first trains one on the bundled photographs for a few seconds. Half a minute on two cores:

    python examples/embeddings_to_table.py
    python examples/embeddings_to_table.py --data photos/ --encoder runs/photos --out photos.parquet
"""

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import tyro

import byol
from byol.encoders.load import LoadedEncoder, open_encoder
from byol.errors import BadImage


@torch.no_grad()
def embed(encoder: LoadedEncoder, source: byol.Source, batch_size: int = 256) -> pa.Table:
    """Path, label and features of every image that can be read; the label is null where images have none."""
    rows: list[int] = []
    blocks: list[torch.Tensor] = []
    for start in range(0, len(source), batch_size):
        inputs = []
        for number in range(start, min(start + batch_size, len(source))):
            try:
                crop = encoder.transform.crop(source.image(number))
            except BadImage as error:
                print(f"left out: {source.where(number)}: {error}")
                continue
            inputs.append(encoder.transform.normalize(crop[None]))
            rows.append(number)
        if inputs:
            blocks.append(encoder.module(torch.cat(inputs)))
    features = torch.cat(blocks)
    labels: list[str | None] = [None] * len(rows)
    if source.labels is not None:
        labels = [source.classes[source.labels[i]] if source.classes else str(source.labels[i]) for i in rows]
    values = pa.array(features.flatten().numpy())
    return pa.table(
        {
            "path": [source.where(i) for i in rows],
            "label": pa.array(labels, pa.string()),
            "embedding": pa.FixedSizeListArray.from_arrays(values, features.shape[1]),
        }
    )


def embeddings(table: pa.Table) -> np.ndarray:
    """The features of a table, (N, D) float32."""
    column = table["embedding"].combine_chunks()
    return column.flatten().to_numpy().reshape(len(column), -1)


def nearest(table: pa.Table, row: int, count: int = 5) -> list[int]:
    """Rows whose features have the largest cosine with those of a row, the nearest first."""
    vectors = embeddings(table)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return [int(i) for i in np.argsort(-unit @ unit[row]) if i != row][:count]


def main(data: str = "photos:test", encoder: str | None = None, out: Path = Path("embeddings.parquet")) -> pa.Table:
    """Write the table, read it back, and show the nearest neighbors of an image; returns the table that was read.

    Args:
        data: a folder of images, or anything else that `byol pretrain` takes.
        encoder: a run's folder, or timm:NAME; by default a short run is made.
        out: the Parquet file.
    """
    with tempfile.TemporaryDirectory() as folder:
        if encoder is None:
            encoder = str(Path(folder) / "run")
            byol.pretrain("photos:train", recipe="photos", epochs=1, out=encoder)
        opened = open_encoder(encoder)
    table = embed(opened, byol.open_source(data, channels=len(opened.transform.mean)))
    pq.write_table(table, out)
    table = pq.read_table(out)
    print(f"{out}: {table.num_rows} rows, {embeddings(table).shape[1]} features each")
    paths, labels = table["path"].to_pylist(), table["label"].to_pylist()
    print(f"nearest to {paths[0]} ({labels[0]}):")
    for row in nearest(table, 0):
        print(f"  {paths[row]} ({labels[row]})")
    return table


if __name__ == "__main__":
    tyro.cli(main)
