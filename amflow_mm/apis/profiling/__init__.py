"""Where the time of a training step goes: by part of the model and by operator."""

from amflow_mm.apis.profiling.report import print_profile, profile_as_markdown
from amflow_mm.apis.profiling.training import ProfileOptions, profile_training

__all__ = ["ProfileOptions", "print_profile", "profile_as_markdown", "profile_training"]
