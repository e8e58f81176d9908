"""Running statistics computed anew from data: in a session, from a checkpoint, or in shares."""

from __future__ import annotations

from bnguard.reestimation.estimation import assign_moments, measure_moments, reestimate
from bnguard.reestimation.moments import Moments

__all__ = ["Moments", "assign_moments", "measure_moments", "reestimate"]
