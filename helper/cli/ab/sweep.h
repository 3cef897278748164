/* SPDX-License-Identifier: BSD-2-Clause */
/* What a trial leaves behind: children, and what became one because its parent has ended (the subreaper's). */
#ifndef SMACCEL_CLI_AB_SWEEP_H
#define SMACCEL_CLI_AB_SWEEP_H

#include <sys/types.h>

/* Another user's, that this one may not kill (a set-user-ID program), or one that hangs in the kernel, is waited for no longer than that. */
#define AB_SWEEP_WAIT_MS 2000

/* Waits for a child that was sent SIGKILL. pidfd: its, or -1. 0: *status (as of wait4()) and *cpu_s are set; -EBUSY: it goes on. */
int ab_sweep_reap(pid_t pid, int pidfd, int *status, double *cpu_s);
/* Kills and reaps every child, and theirs. Adds their CPU time to *cpu_s. Returns 0, or the number of one that cannot be ended. */
pid_t ab_sweep(double *cpu_s);

#endif
