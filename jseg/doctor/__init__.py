"""What `tools/doctor.py` shows: what jseg found on this machine,
what is missing, and whether Jittor computes.

`report` needs nothing but the standard library; `selftest` runs in a
process of its own and compares operators with NumPy.
"""
