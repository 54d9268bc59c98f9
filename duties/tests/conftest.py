"""Instances to store accounts of."""

from accounts.tests.conftest import instances

__all__ = ["instances"]
