/* SPDX-License-Identifier: BSD-2-Clause */
/* What the application's signal handlers want: whether an interrupted blocking receive restarts or gives EINTR. */
#ifndef SMACCEL_SIGNALS_H
#define SMACCEL_SIGNALS_H

#include <stdbool.h>

void signals_init(void); /* constructor: reads the handlers that are installed already */
/* The handler of that signal may have changed: asks the kernel. For the wrappers; keeps errno. */
void signals_changed(int number);
/* Some handler is installed without SA_RESTART: a receive may have to end with EINTR. One load. */
bool signals_any_interrupts(void);
/* Some handler is installed with SA_RESTART. */
bool signals_any_restarts(void);

#endif
