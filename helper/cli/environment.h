/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SMACCEL_CLI_ENVIRONMENT_H
#define SMACCEL_CLI_ENVIRONMENT_H

#include <stdbool.h>

/* A line on stderr for each setting of the shim (SMACCEL, SMACCEL_LOG ...) whose value that would not understand. */
void environment_examine(const char *title);

/* Whether that value of SMACCEL switches the shim off. */
bool environment_means_off(const char *value);

#endif
