"""Start a program so that it cannot outlive its supervisor: `python -m runs.launch PARENT -- program …`."""

import ctypes
import os
import resource
import signal
import sys

PR_SET_PDEATHSIG = 1  # prctl(2)


def die_with_parent(parent: int) -> None:
    """Have the kernel end this process when the thread that started it ends, however that happens."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    if os.getppid() != parent:  # it ended before we asked
        sys.exit("the supervisor is gone")


def main() -> None:
    """Become the program, polite to the rest of the machine."""
    parent, program = int(sys.argv[1]), sys.argv[3:]
    die_with_parent(parent)
    os.nice(10)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write("500")  # the kernel takes the run before its supervisor
    except OSError:
        pass  # a sandbox may forbid it; the run is none the worse
    os.execvp(program[0], program)  # noqa: S606, there is no shell in between


if __name__ == "__main__":
    main()
