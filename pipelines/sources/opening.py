"""Opens local files, objects on GCS and what else Beam knows, as they are: nothing is unpacked."""

import io
from functools import partial

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from pipelines.sources.gcs import SCHEME, client, fetched
from pipelines.sources.ranged import RangedFile

_SMALL = 256 << 10  # bytes: small reads of a remote file are made of such ones


def open_file(path: str, size: int = 0, generation: int | None = None, start: int = 0, until: int | None = None,
              endpoint: str = "") -> io.BufferedReader:
    """The file's bytes from the start. size and generation: of an object, as listed; start: where a reader
    means to begin, what is there is fetched at once; until: where it means to stop, None where it does not read in order.

    Raises OSError; of an object that is not that generation any more, gcs.Changed, from any read.
    """
    if "://" not in path:
        return open(path, "rb")  # Beam's wrapper of local files is slow
    if generation is not None and path.startswith(SCHEME):
        fetch = partial(fetched, client(endpoint), path, generation)
        return io.BufferedReader(RangedFile(fetch, size, start, until), _SMALL)
    return io.BufferedReader(FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED), 4 << 20)
