/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The threads whose redirected messages, and whose close(2), slow_landing holds up. */
#ifndef SMACCEL_SLOW_LANDING_H
#define SMACCEL_SLOW_LANDING_H

#define SLOW_THREAD "slow-landing"
#define SLOW_CLOSER "slow-closer"

#endif
