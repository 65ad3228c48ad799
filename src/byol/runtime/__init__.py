"""What training runs on: devices, processes, threads, checkpoints, CUDA graphs, metrics."""
