"""Finds CUDA on this machine and makes Jittor 1.3.11 import on CUDA 11.8, 12.x and 13.x.

`driver` asks the driver for GPUs, `toolkit` looks for nvcc and the libraries, `home` joins what was found
into one folder of links with a few headers of our own (`include/`) and a front end for nvcc (`nvcc.sh`),
`prepare` decides and sets what Jittor reads. Standard library only; installed packages are never changed and
nothing is downloaded.
"""
