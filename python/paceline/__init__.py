"""Batches of Python calls in parallel, as fast as a rate limit allows and never faster."""

from paceline._core import RateLimiter

__all__ = ["RateLimiter"]
