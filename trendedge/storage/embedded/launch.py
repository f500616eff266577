"""Become a server. Run by its path as a program of its own, it ends by turning into the server that it is told to run.

A `preexec_fn` would do the same between fork and exec, where a process with threads may deadlock (Python warns of it).
Nothing but the standard library is imported, with `-I -S`, so that this costs some 15 ms.

The only argument is JSON: `argv` and `environment` of the server; `parent` (process id); `parent_death_signal`;
`identity` with `uid`, `gid` (null: stay as we are) and `alias` (the uid that the server shall see, or null);
`lifeline`, a descriptor that ends with the parent, or null where the kernel watches.
"""

import ctypes
import json
import os
import sys
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_DUMPABLE = 1, 4


def become(uid: int | None, gid: int | None, alias: int | None) -> None:
    """Change identity for good, and take an alias in a user namespace: files stay ours, the server sees another uid."""
    if uid is not None and gid is not None:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if alias is not None:
        outer_uid, outer_gid = os.geteuid(), os.getegid()
        prctl(PR_SET_DUMPABLE, 1)  # the change above made /proc/self root's
        os.unshare(os.CLONE_NEWUSER)  # type: ignore[attr-defined,unused-ignore]  # Linux alone has it
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{alias} {outer_uid} 1")
        Path("/proc/self/gid_map").write_text(f"{alias} {outer_gid} 1")


def die_with_parent(parent: int, signal_number: int, lifeline: int | None) -> None:
    """Have the kernel send the signal when the parent (its thread that called us, to be exact) ends.

    After `become`: a change of identity clears this setting. Where the kernel has no such thing (macOS), a forked
    watchdog waits for the end of the parent's pipe instead.
    """
    if lifeline is None:
        prctl(PR_SET_PDEATHSIG, signal_number)
        if os.getppid() != parent:  # it ended before we asked
            sys.exit(1)
        return
    server = os.getpid()
    if os.fork() == 0:
        os.read(lifeline, 1)  # nobody writes: returns when the parent is gone, or has stopped the server itself
        if os.getppid() == server:
            os.kill(server, signal_number)
        os._exit(0)
    os.close(lifeline)


def prctl(option: int, value: int) -> None:
    """Linux's call of that name."""
    if ctypes.CDLL(None, use_errno=True).prctl(option, value) != 0:
        raise OSError(ctypes.get_errno(), f"prctl {option}")


def main() -> None:
    """Read the order, change, and run the server in our place."""
    order = json.loads(sys.argv[1])
    become(**order["identity"])
    die_with_parent(order["parent"], order["parent_death_signal"], order["lifeline"])
    os.execve(order["argv"][0], order["argv"], order["environment"])  # noqa: S606  # no shell is what we want


if __name__ == "__main__":
    main()
