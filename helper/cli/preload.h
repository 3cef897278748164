/* SPDX-License-Identifier: BSD-2-Clause */
/* What comes before a program runs under the shim: shared by the commands that run programs. */
#ifndef SMACCEL_CLI_PRELOAD_H
#define SMACCEL_CLI_PRELOAD_H

#include <stdbool.h>

#include "program.h"

/* NULL exists. False after a message. */
bool preload_profile_exists(const char *title, const char *name);

/* Puts the settings of a profile in this process's environment; NULL changes nothing. False after a message, or without memory. */
bool preload_profile(const char *title, const char *name);

/* Whether `name` can run under the shim. CLI_OK, or after a message the status to end with. */
int preload_examine(const char *title, const char *name, struct program *program);

/* Puts the library in this process's LD_PRELOAD. 0, or -errno after a message (-ENOMEM: without one). */
int preload_set(const char *title, const struct program *program);

/* Takes the library out of this process's LD_PRELOAD; what else is there stays. 0, or -errno after a message. */
int preload_unset(const char *title);

#endif
