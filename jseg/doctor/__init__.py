"""The report of `tools/doctor.py`: what jseg found on this machine, what is missing, and whether Jittor
works.

`report` needs only the standard library. `selftest` runs in a process of its own and compares operators with
NumPy.
"""
