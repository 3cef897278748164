/* SPDX-License-Identifier: BSD-2-Clause */
/* The kernel's clock. Other preloaded libraries (libfaketime) give the application a clock of their own, that may stand still;
 * the shim's bounds are of real time. */
#ifndef SMACCEL_CLOCK_H
#define SMACCEL_CLOCK_H

#include <stdint.h>
#include <time.h>

void clock_init(void); /* constructor; before it clock_read() is clock_gettime() */
void clock_read(clockid_t clock, struct timespec *now);
int64_t clock_us(void);        /* CLOCK_MONOTONIC */
int64_t clock_ms(void);        /* likewise */
int64_t clock_coarse_ms(void); /* CLOCK_MONOTONIC_COARSE */

#endif
