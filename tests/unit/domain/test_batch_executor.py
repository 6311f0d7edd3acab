"""Tests for batch executor"""
import pytest
from unittest.mock import Mock
from descope_mgmt.domain.services.batch_executor import BatchExecutor


def test_batch_executor_parallel():
    """Should execute operations in parallel with rate limiting"""
    operations = [lambda: i for i in range(5)]

    rate_limiter = Mock()
    executor = BatchExecutor(rate_limiter=rate_limiter, max_workers=3)

    results = executor.execute_batch(operations)

    assert len(results) == 5
    # Should have called rate limiter
    assert rate_limiter.acquire.call_count == 5
