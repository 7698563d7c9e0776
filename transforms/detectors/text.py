"""A text as RE2 sees it and as findings count it."""

import numpy as np
import numpy.typing as npt

_FURTHER = bytes(range(0x80, 0xC0))  # bytes that do not start a character
_SHORT = 4096  # bytes


class Text:
    """One value: `text` (code points), `data` (its UTF-8), and the way from byte offsets to code points.

    RE2 works on bytes; letting it answer in code points costs twice the time, and most texts are ASCII, where both agree.
    """

    __slots__ = ("_offsets", "data", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        # surrogatepass: a lone surrogate is no reason to look away from the rest of the value
        self.data = text.encode("utf-8", "surrogatepass")
        self._offsets: npt.NDArray[np.int64] | None = None

    def code_points(self, offset: int) -> int:
        """Code points before a byte offset."""
        if len(self.data) == len(self.text):
            return offset
        if len(self.data) < _SHORT:
            return len(self.data[:offset].translate(None, _FURTHER))
        return int(self._starts()[offset])

    def bytes_before(self, position: int) -> int:
        """The byte offset of a code point."""
        if len(self.data) == len(self.text):
            return position
        return int(np.searchsorted(self._starts(), position, side="right")) - 1

    def _starts(self) -> npt.NDArray[np.int64]:
        """For each byte offset, how many characters start before it. Made once: a long text may hold many findings."""
        if self._offsets is None:
            starts = (np.frombuffer(self.data, np.uint8) & 0xC0) != 0x80
            self._offsets = np.concatenate((np.zeros(1, np.int64), np.cumsum(starts, dtype=np.int64)))
        return self._offsets
