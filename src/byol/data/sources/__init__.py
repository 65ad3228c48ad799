"""Sources of images: folders, lists, Parquet files, data sets by name, tensors in memory."""
