"""Hypothesis judges by what comes out, never by how long it took: other programs run beside the tests."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile(
    "steady",
    settings.get_profile(settings.get_current_profile_name()),  # on CI a profile without chance
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("steady")
