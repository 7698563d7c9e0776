"""Opens local files and those that Beam knows (gs://), as they are: nothing is unpacked."""

import io

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems


def open_file(path: str) -> io.BufferedReader:
    """The file's bytes from the start. Raises OSError.

    Local files do not go through Beam's wrapper, which is slow; remote ones are buffered, so that small reads cost no request.
    """
    if "://" not in path:
        return open(path, "rb")
    return io.BufferedReader(FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED), 4 << 20)
