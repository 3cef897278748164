/* SPDX-License-Identifier: BSD-2-Clause */
/* A thread that notices when the loop stands still in the kernel, and makes room for another helper. */
#ifndef SMACCEL_HELPER_WATCHDOG_H
#define SMACCEL_HELPER_WATCHDOG_H

struct helper;

/* Called by the loop's thread, before privileges are dropped. 0 or -errno. */
int watchdog_open(void);
/* And after: capabilities and filters are a thread's own. It runs until the process ends. 0 or -errno. */
int watchdog_start(struct helper *helper);

#endif
