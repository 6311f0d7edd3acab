"""Batch executor with parallelism and rate limiting."""

from paceline import BatchExecutor

__all__ = ["BatchExecutor"]
