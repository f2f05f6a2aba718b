#!/bin/sh
# Front end of nvcc for Jittor, which forces -std=c++14: CUB and Thrust of CUDA 13 demand C++17.
# @NVCC@ is replaced when the CUDA home is made.
[ "$1" = --version ] && exec "@NVCC@" --version
for argument do
    shift
    case $argument in -std=*|--std=*) continue ;; esac
    set -- "$@" "$argument"
done
exec "@NVCC@" -std=c++17 "$@"
