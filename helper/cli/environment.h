/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SMACCEL_CLI_ENVIRONMENT_H
#define SMACCEL_CLI_ENVIRONMENT_H

/* A line on stderr for each setting of the shim (SMACCEL, SMACCEL_LOG ...) whose value that would not understand. */
void environment_examine(const char *title);

#endif
