"""Presidio as it can be had offline: all its recognizers over a blank spaCy model, which finds no names."""

from typing import Any


def analyzer() -> Any | None:
    """An AnalyzerEngine, or None where Presidio is not installed: it wants an environment of its own."""
    try:
        import spacy
        from presidio_analyzer import AnalyzerEngine
        from presidio_analyzer.nlp_engine import SpacyNlpEngine
    except ImportError:
        return None

    class Blank(SpacyNlpEngine):  # type: ignore[misc]
        def load(self) -> None:
            self.nlp = {"en": spacy.blank("en")}

    return AnalyzerEngine(nlp_engine=Blank(), supported_languages=["en"])
