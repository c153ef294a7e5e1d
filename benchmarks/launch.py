"""Runs a command and prints, as the last line, what the system says it used, as JSON.

A small process on purpose: Linux counts the memory of whoever starts a process towards that
process's own `ru_maxrss`. Started as a script, of the standard library alone.
"""

import json
import os
import sys
from time import perf_counter


def main() -> None:
    """Run the command of the arguments; its output goes where ours goes."""
    started = perf_counter()
    child = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ)
    _, status, usage = os.wait4(child, 0)
    used = {
        "wall": perf_counter() - started,
        "cpu": usage.ru_utime + usage.ru_stime,
        "peak_mb": usage.ru_maxrss / 1024,
        "code": os.waitstatus_to_exitcode(status),
    }
    print(f"\n{json.dumps(used)}", flush=True)


if __name__ == "__main__":
    main()
