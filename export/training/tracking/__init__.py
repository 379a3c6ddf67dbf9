"""Trackers: programs in which users watch and compare their trainings, beside the run's folder."""

from convoy.export.training.tracking.tracker import Tracker, make_trackers

__all__ = ["Tracker", "make_trackers"]
