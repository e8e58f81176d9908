"""Running statistics computed anew from data: in a session, from a checkpoint, or in shares."""

from __future__ import annotations

from bnguard.reestimate.estimation import assign_moments, measure_moments, reestimate
from bnguard.reestimate.moments import Moments

__all__ = ["Moments", "assign_moments", "measure_moments", "reestimate"]
