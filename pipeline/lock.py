"""One run at a time in one output folder.

Scheduled jobs overlap: missed ticks may be started together. The second run would sweep the first
one's temporary files, so it is refused while the first holds the lock. The lock belongs to the
process and goes with it, however it ends. Object stores have no locks; there, runs of one plan
write equal bytes and so do no harm.
"""

from __future__ import annotations

import errno
import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.storage import StorageError, check_writable, local_folder

__all__ = ["run_lock"]


@contextmanager
def run_lock(root: str) -> Iterator[None]:
    """Hold the lock of an output folder.

    Args:
        root: Folder or URL of the corpus.

    Raises:
        StorageError: If another run holds it, or the folder cannot be written.
    """
    check_writable(root)
    folder = local_folder(root)
    if folder is None:
        yield
        return
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StorageError(
                error.errno,
                f"another run is at work in {root}; wait for it, or give output.path another "
                "folder.",
                where=root,
            ) from None
        except OSError as error:
            # Some network file systems have no locks; a run is still possible there.
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                raise
        yield
