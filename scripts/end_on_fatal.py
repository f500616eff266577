"""supervisord's event listener: when the program cannot be kept running, end supervisord with a status that is not 0.

Otherwise the container stays up with nothing in it. By SIGKILL, because supervisord answers every other signal with
status 0, and there is nothing left that could stop in order. The protocol is supervisord's: a line says that we are
ready, and with each event comes a line of headers. Only PROCESS_STATE_FATAL is subscribed to.
"""

import os
import signal
import sys


def main() -> None:
    """Wait for the one event."""
    sys.stdout.write("READY\n")
    sys.stdout.flush()
    if sys.stdin.readline():  # an empty line is the end of file: supervisord is on its way out by itself
        os.kill(os.getppid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
