"""The console of the appliance: a plain menu on screen and serial line, for whoever stands before it.

It shows its first screen with the standard library alone; what needs the database is done by a ``hilltop``
command in another process.
"""
