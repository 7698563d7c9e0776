"""What the launcher of a Flex Template runs: the job that the image names (PENSTOCK_JOB), with the launcher's flags. Nothing else stands here, so nothing is pickled from it."""

import os
import sys

from pipelines.__main__ import main

if __name__ == "__main__":
    sys.exit(main([os.environ["PENSTOCK_JOB"], *sys.argv[1:]]))
