/* SPDX-License-Identifier: BSD-2-Clause */
/* Handlers of exit() and quick_exit() that come after all others. */
#ifndef SMACCEL_INTERCEPT_EXIT_H
#define SMACCEL_INTERCEPT_EXIT_H

void intercept_exit_init(void); /* constructor */

#endif
