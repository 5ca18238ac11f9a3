#!/bin/bash
#
# What a row of the HttpProxy log costs, beside a line of nginx's access_log
# with 20 variables: "./build.sh bench log", explained in docs/benchmarks.md.
# The variables are those of routing.sh, which does the work.

export BENCH_ROUNDS=${BENCH_ROUNDS:-9}
export BENCH_NAME=log BENCH_ONLY="headers access log"
export BENCH_INSTRUCTIONS=${BENCH_INSTRUCTIONS:-no}

exec bash "$(dirname "${BASH_SOURCE[0]}")/routing.sh"
