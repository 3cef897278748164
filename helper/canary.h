/* SPDX-License-Identifier: BSD-2-Clause */
/* Canaries: threads that tell whether an ordinary thread gets the CPU when it wants it, on each CPU that this process may use. */
#ifndef SMACCEL_HELPER_CANARY_H
#define SMACCEL_HELPER_CANARY_H

#include <stdbool.h>

/* Which CPUs there are; before privileges are dropped. */
void canaries_open(void);
/* Sends them out, if they are not out. A canary that cannot be had says nothing. */
void canaries_send(void);
/* Calls them back: each ends the next time that it gets the CPU. */
void canaries_recall(void);
/* Whether one of them had to wait since it was sent out or last asked for, or waits now. */
bool canaries_starved(void);

#endif
