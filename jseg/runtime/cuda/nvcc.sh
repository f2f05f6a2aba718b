#!/bin/sh
# Front end of nvcc for Jittor, which asks for no GPU newer than sm_90 and forces -std=c++14: CUB and Thrust of CUDA 13
# demand C++17. What stands between @ is replaced when the CUDA home is made.
[ "$1" = --version ] && exec "@NVCC@" --version
architectures='@ARCHITECTURES@'
standard='@STANDARD@'
own=$architectures
for argument do
    shift
    case $argument in
    -std=*|--std=*) [ -n "$standard" ] && continue ;;
    -arch=compute_*|-code=sm_*) [ -n "$architectures" ] && continue ;;
    -gencode*|--generate-code*) own= ;;
    esac
    set -- "$@" "$argument"
done
exec "@NVCC@" $own $standard "$@"
