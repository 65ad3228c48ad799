"""Where images lie: folders, lists, Parquet, names, tensors."""
