#!/bin/sh
#SBATCH --job-name=pcp-segments
#SBATCH --array=1-16
#SBATCH --output=segments-%a.txt
# sbatch --wait [--array=1-N] slurm.sh TRACE: the same as a job array of Slurm, whose nodes all see TRACE
# and have processors that can run the program. Every task of the array does one of N parts and writes
# registers-I.txt, which in their order are what `pcp-rr rerun TRACE` prints, and segments-I.txt. The
# job exits with 0 where all parts do.
set -eu

trace=$1
part=$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_MAX

pcp-rr rerun --segment "$part" "$trace" > "registers-$SLURM_ARRAY_TASK_ID.txt"
pcp-validate --trace "$trace" --replay --segment "$part"
