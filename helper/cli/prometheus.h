/* SPDX-License-Identifier: BSD-2-Clause */
/* The helper's status in the text format that Prometheus scrapes (version 0.0.4). */
#ifndef SMACCEL_CLI_PROMETHEUS_H
#define SMACCEL_CLI_PROMETHEUS_H

#include <jansson.h>
#include <stdio.h>

void prometheus_print(const json_t *status, FILE *out);

#endif
