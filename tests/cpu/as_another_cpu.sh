#!/usr/bin/env bash
# Run a command as though this x86-64 machine's CPU knew fewer instructions, in all that is ours and torch's.
#
#     tests/cpu/as_another_cpu.sh avx2|avx512|scalar COMMAND...
#
# avx2     torch's kernels and its oneDNN stop at AVX2; the CPU's flags say so, and `compute: auto` is float32
# avx512   oneDNN stops at AVX512 without bfloat16; the CPU's flags say so, and `compute: auto` is float32
# scalar   torch's kernels are those for any x86-64, its oneDNN stops at SSE4.1; the flags say so
#
# OpenVINO asks the CPU itself and goes on as it is. Needs a C compiler, and the right to make a mount namespace.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
scratch=$(mktemp -d)
chmod 755 "$scratch" && trap 'rm -rf "$scratch"' EXIT
case $1 in
    avx2) kernels=avx2 isa=AVX2 mkl=AVX2 flags='s/ avx512[a-z0-9_]*//g; s/ amx_[a-z0-9]*//g' ;;
    avx512) kernels=avx512 isa=AVX512_CORE mkl=AVX512 flags='s/ avx512_bf16//; s/ avx512_fp16//; s/ amx_[a-z0-9]*//g' ;;
    scalar) kernels=default isa=SSE41 mkl=SSE4_2 flags='s/ avx[a-z0-9_]*//g; s/ amx_[a-z0-9]*//g' ;;
    *) sed -n '2,11p' "$0" && exit 2 ;;
esac
shift
sed "$flags" /proc/cpuinfo >"$scratch/cpuinfo"
cc -shared -fPIC -O1 -o "$scratch/getenv.so" "$here/getenv.c" -ldl
export ATEN_CPU_CAPABILITY=$kernels MKL_ENABLE_INSTRUCTIONS=$mkl TORCH_ONEDNN_MAX_CPU_ISA=$isa LD_PRELOAD=$scratch/getenv.so
# As root in a namespace of users nothing can be given to another user, which tests do.
[ "$(id -u)" = 0 ] && users="" || users=--map-root-user
unshare $users --mount sh -c 'mount --bind "$0" /proc/cpuinfo && exec "$@"' "$scratch/cpuinfo" "$@"
