"""A wall clock that can be set from outside, for the process that has this directory in PYTHONPATH: what
`time.time` tells is the true time plus the number of seconds (a double) that the file SETTABLE_CLOCK holds.
The monotonic clock and the times of files stay. Debian's faketime does that for any program, and makes this
one ten times slower."""

import mmap
import os
import struct
import time

with open(os.environ["SETTABLE_CLOCK"], "rb") as _file:
    _ahead = mmap.mmap(_file.fileno(), 8, prot=mmap.PROT_READ)
_true, _double = time.time, struct.Struct("d").unpack_from


def _settable() -> float:
    (ahead,) = _double(_ahead)
    return _true() + float(ahead)


time.time = _settable
