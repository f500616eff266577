"""The runtime by itself, beside what else there is: queues of the event loop, actor libraries, job queues on Redis.

All of a round runs in turn on one machine, so that ratios hold though the machine's speed drifts. Other libraries are
not installed with the project: whoever wants them beside it names a Python that has them.
"""
