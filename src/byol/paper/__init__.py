"""The paper's tables, measured again: cells, scales, a resumable runner, and a report of ours beside the paper's."""
