"""One adapter for each way to reach people."""
