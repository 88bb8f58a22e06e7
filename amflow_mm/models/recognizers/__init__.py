"""Recognizers."""

from amflow_mm.models.recognizers.amflow_recognizer import AMFlowRecognizer

__all__ = ["AMFlowRecognizer"]
