"""Taifish: who may do what on every database instance, since when, and how big everything is."""

from .celery import app as celery_app

__all__ = ["celery_app"]
