"""What the command line does, one module a command. `trendedge/__main__.py` has the names and the options.

A layer of its own between `__main__` and `app`: these modules start servers, migrate and print, which the composition
root has no business with, and each is imported only when its command is run.
"""
