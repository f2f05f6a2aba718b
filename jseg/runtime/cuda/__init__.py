"""Finds CUDA on this machine and makes Jittor 1.3.11 import on CUDA 11.8, 12.x and 13.x.

`driver` queries the driver for GPUs. `toolkit` finds nvcc and the libraries. `home` combines them in one
folder of links with a few additional headers (`include/`) and a front end for nvcc (`nvcc.sh`). `prepare`
chooses the device and sets the variables that Jittor reads. Only the standard library is used. Installed
packages are never changed, and nothing is downloaded.
"""
