"""A record of exactly what was sent, for whoever has to answer for it: one JSON line for each HTTP request.

On when `FEWSHOT_AUDIT` names a file. The embedded model is left out, since nothing leaves the process. Headers are left
out, since they hold the key.
"""

from __future__ import annotations

import errno
import json
import os
import time

from fewshot.errors import ConfigError

__all__ = ["sent"]

_APPENDING = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NONBLOCK", 0)  # or a pipe would be waited for


def sent(file: str, host: str, path: str, body: bytes) -> None:
    """Write down a request in the file of the audit before it goes out.

    Raises:
        ConfigError: the file cannot be written, so nothing is sent either.
    """
    record = {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "host": host, "path": path}
    line = json.dumps(record | {"body": body.decode("utf-8", "replace")}, ensure_ascii=False) + "\n"
    try:
        descriptor = os.open(file, _APPENDING, 0o600)
        with open(descriptor, "ab", buffering=0) as log:  # noqa: PTH123 - a descriptor, not a path
            before, rest = log.seek(0, os.SEEK_END), line.encode()
            if log.write(rest) != len(rest):  # the disk is full: whole or not at all
                log.truncate(before)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        raise ConfigError(
            f"the audit log FEWSHOT_AUDIT={file} cannot be written ({error.strerror}): nothing is sent"
        ) from error
