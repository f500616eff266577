"""The black-box load tool behind `make bench`.

It starts the product as a user would, loads it from a process of its own over real sockets, and prints a table. It
drives any other implementation that serves the same URLs, so that two can be compared round by round. It never
fails on a time; it fails when it could not measure, and when an acknowledged alert was lost or executed twice.
"""
