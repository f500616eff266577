"""A job that only writes down how long it was under way, for each of several job queues.

`jobs.py LIBRARY worker` serves until it is ended. `jobs.py LIBRARY send COUNT` sends as fast as ten senders can and
prints messages a second; `jobs.py LIBRARY pace COUNT` sends 100 a second. REDIS_URL and JOBS_FILE say where. Run by a
Python that has the library.
"""

import asyncio
import os
import struct
import sys
from time import perf_counter

REDIS_URL = os.environ["REDIS_URL"]
FILE = os.open(os.environ["JOBS_FILE"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
LIBRARY = sys.argv[1] if sys.argv[0].endswith("jobs.py") else os.environ["JOBS_LIBRARY"]


def record(sent_at):
    os.write(FILE, struct.pack("dd", sent_at, perf_counter()))


class Celery:
    def __init__(self):
        import celery

        self.app = celery.Celery("jobs", broker=REDIS_URL)
        self.app.conf.update(task_ignore_result=True, broker_connection_retry_on_startup=True)
        self.job = self.app.task(name="job")(record)

    def work(self):
        self.app.worker_main(["worker", "-P", "prefork", "-c", "2", "-l", "ERROR"])

    async def open(self):
        pass

    async def send(self):
        self.job.delay(perf_counter())


class Dramatiq:
    def __init__(self):
        import dramatiq
        from dramatiq.brokers.redis import RedisBroker

        self.broker = RedisBroker(url=REDIS_URL)
        dramatiq.set_broker(self.broker)
        self.job = dramatiq.actor(record, actor_name="job")

    def work(self):
        import time

        import dramatiq

        worker = dramatiq.Worker(self.broker, worker_threads=10)
        worker.start()
        while True:
            time.sleep(60)

    async def open(self):
        pass

    async def send(self):
        self.job.send(perf_counter())


class Taskiq:
    def __init__(self):
        from taskiq_redis import RedisStreamBroker

        self.broker = RedisStreamBroker(REDIS_URL)

        async def job(sent_at: float) -> None:
            record(sent_at)

        self.job = self.broker.register_task(job, task_name="job")

    def work(self):
        from taskiq.api import run_receiver_task

        async def main():
            await run_receiver_task(self.broker, run_startup=True, max_async_tasks=10)

        import uvloop

        uvloop.run(main())

    async def open(self):
        await self.broker.startup()

    async def send(self):
        await self.job.kiq(perf_counter())


class Faststream:
    def __init__(self):
        from faststream import FastStream
        from faststream.redis import RedisBroker, StreamSub

        self.broker = RedisBroker(REDIS_URL, logger=None)
        self.app = FastStream(self.broker, logger=None)

        @self.broker.subscriber(stream=StreamSub("jobs", group="g", consumer="c", max_records=100), max_workers=10)
        async def job(sent_at: float) -> None:
            record(sent_at)

    def work(self):
        import uvloop

        uvloop.run(self.app.run())

    async def open(self):
        await self.broker.connect()

    async def send(self):
        await self.broker.publish(perf_counter(), stream="jobs")


class Arq:
    def work(self):
        import uvloop
        from arq.connections import RedisSettings
        from arq.worker import Worker, func

        async def job(context, sent_at):
            record(sent_at)

        async def main():
            settings = RedisSettings.from_dsn(REDIS_URL)
            await Worker([func(job, name="job", keep_result=0)], redis_settings=settings, max_jobs=10).async_run()

        uvloop.run(main())

    async def open(self):
        from arq import create_pool
        from arq.connections import RedisSettings

        self.pool = await create_pool(RedisSettings.from_dsn(REDIS_URL))

    async def send(self):
        await self.pool.enqueue_job("job", perf_counter())


LIBRARIES = {"celery": Celery, "dramatiq": Dramatiq, "taskiq": Taskiq, "faststream": Faststream, "arq": Arq}


async def send(library, count):
    await library.open()
    left = iter(range(count))

    async def sender():
        for _ in left:
            await library.send()

    begun = perf_counter()
    await asyncio.gather(*(sender() for _ in range(10)))
    return count / (perf_counter() - begun)


async def pace(library, count):
    await library.open()
    begun = perf_counter()
    sends = []
    for number in range(count):
        await asyncio.sleep(max(0.0, begun + number / 100 - perf_counter()))
        sends.append(asyncio.ensure_future(library.send()))
    await asyncio.gather(*sends)


if __name__ == "__main__":
    chosen = LIBRARIES[LIBRARY]()
    if sys.argv[2] == "worker":
        chosen.work()
    else:
        print(asyncio.run({"send": send, "pace": pace}[sys.argv[2]](chosen, int(sys.argv[3]))), flush=True)
        os._exit(0)  # clients leave tasks behind
