"""A text as RE2 sees it and as findings count it."""

import numpy as np


class Text:
    """One value: `text` (code points), `data` (its UTF-8), and the way from byte offsets to code points.

    RE2 works on bytes; letting it answer in code points costs twice the time, and most texts are ASCII, where both agree.
    """

    __slots__ = ("text", "data", "_offsets")

    def __init__(self, text: str) -> None:
        self.text = text
        # surrogatepass: a lone surrogate is no reason to look away from the rest of the value
        self.data = text.encode("utf-8", "surrogatepass")
        self._offsets: np.ndarray | None = None

    def slice(self, start: int, end: int) -> str:
        """The text between two byte offsets that stand on character boundaries."""
        return self.data[start:end].decode("utf-8", "surrogatepass")

    def code_points(self, offset: int) -> int:
        """Code points before a byte offset."""
        if len(self.data) == len(self.text):
            return offset
        if self._offsets is None:
            starts = (np.frombuffer(self.data, np.uint8) & 0xC0) != 0x80
            self._offsets = np.concatenate(([0], np.cumsum(starts)))
        return int(self._offsets[offset])

    def bytes_before(self, position: int) -> int:
        """The byte offset of a code point."""
        if len(self.data) == len(self.text):
            return position
        return len(self.text[:position].encode("utf-8", "surrogatepass"))
