"""The container's health check: whether the process answers. Status 0 if so, else 1."""

import os
import sys
import urllib.error
import urllib.request


def main() -> int:
    """Ask for /health on the port that the process listens on."""
    url = f"http://127.0.0.1:{os.environ.get('PORT') or '8000'}/health"
    try:
        with urllib.request.urlopen(url, timeout=4) as response:  # our own, and http by the line above
            return 0 if response.status == 200 else 1
    except (urllib.error.URLError, OSError) as error:
        print(error)
        return 1


if __name__ == "__main__":
    sys.exit(main())
