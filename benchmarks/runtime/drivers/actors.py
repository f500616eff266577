"""Messages a second of another actor library: `actors.py LIBRARY tell|ask COUNT` prints the seconds.

Run by a Python that has the library.
"""

import asyncio
import sys
import threading
from time import perf_counter


def pykka(what: str, count: int) -> float:
    import pykka

    done = threading.Event()

    class Sum(pykka.ThreadingActor):
        left, total = count, 0

        def on_receive(self, message):
            self.total += message
            self.left -= 1
            if not self.left:
                done.set()
            return self.total

    ref = Sum.start()
    begun = perf_counter()
    if what == "tell":
        for number in range(count):
            ref.tell(number)
        done.wait()
    else:
        for number in range(count):
            ref.ask(number)
    taken_s = perf_counter() - begun
    ref.stop()
    return taken_s


def xoscar(what: str, count: int) -> float:
    import xoscar

    async def main() -> float:
        done = asyncio.Event()

        class Sum(xoscar.Actor):
            def __init__(self):
                self.left, self.total = count, 0

            async def add(self, number):
                self.total += number
                self.left -= 1
                if not self.left:
                    done.set()
                return self.total

        pool = await xoscar.create_actor_pool("127.0.0.1", n_process=0)
        async with pool:
            ref = await xoscar.create_actor(Sum, address=pool.external_address, uid="sum")
            begun = perf_counter()
            if what == "tell":
                for number in range(count):
                    await ref.add.tell(number)
                await done.wait()
            else:
                for number in range(count):
                    await ref.add(number)
            return perf_counter() - begun

    return asyncio.run(main())


if __name__ == "__main__":
    library, what, count = sys.argv[1:]
    print({"pykka": pykka, "xoscar": xoscar}[library](what, int(count)))
